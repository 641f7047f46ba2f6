"""Chat templates, tokens and images of messages, by ``transformers`` and Pillow."""

from __future__ import annotations

import base64
import io
from typing import Any

from rayjup.data.datasource.pieces import need
from rayjup.data.llm.stages import Work


def _tokenizer(model_source: str) -> Any:
    return need("transformers", "Chat templates and tokens").AutoTokenizer.from_pretrained(model_source)


def _plain(messages: Any) -> list[dict[str, Any]]:
    return [dict(message) for message in messages]


class ChatTemplate(Work):
    """Makes ``prompt`` of ``messages``.

    Parameters
    ----------
    model_source, chat_template, chat_template_kwargs
        The model whose template is used, another template, and arguments for it.
    """

    needed = ("messages",)

    def __init__(
        self,
        model_source: str,
        chat_template: str | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._tokenizer = _tokenizer(model_source)
        self._template, self._kwargs = chat_template, dict(chat_template_kwargs or {})

    def process(self, rows: list[dict[str, Any]]) -> None:
        """One prompt per row; it ends where the model is to go on."""
        for row in rows:
            messages = _plain(row["messages"])
            begun = messages[-1]["role"] == "assistant"
            row["prompt"] = self._tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                chat_template=self._template,
                add_generation_prompt=not begun,
                continue_final_message=begun,
                **self._kwargs,
            )


class Tokenize(Work):
    """Makes ``tokenized_prompt`` of ``prompt``."""

    needed = ("prompt",)

    def __init__(self, model_source: str) -> None:
        self._tokenizer = _tokenizer(model_source)

    def process(self, rows: list[dict[str, Any]]) -> None:
        """All prompts at once."""
        tokens = self._tokenizer([row["prompt"] for row in rows])["input_ids"]
        for row, found in zip(rows, tokens, strict=True):
            row["tokenized_prompt"] = list(found)


class Detokenize(Work):
    """Makes ``generated_text`` of ``generated_tokens``."""

    needed = ("generated_tokens",)

    def __init__(self, model_source: str) -> None:
        self._tokenizer = _tokenizer(model_source)

    def process(self, rows: list[dict[str, Any]]) -> None:
        """All texts at once."""
        tokens = [list(row["generated_tokens"]) for row in rows]
        texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for row, text in zip(rows, texts, strict=True):
            row["generated_text"] = text


class PrepareMultimodal(Work):
    """Loads the images that ``messages`` name, into ``image``, in order.

    Parameters
    ----------
    content_format
        ``openai`` leaves messages as they are; ``string`` keeps their text only.
    """

    needed = ("messages",)

    def __init__(self, content_format: str | None = "string") -> None:
        self._text_only = content_format == "string"

    def process(self, rows: list[dict[str, Any]]) -> None:
        """The images of each row."""
        for row in rows:
            images, messages = [], []
            for message in _plain(row["messages"]):
                parts = message["content"] if isinstance(message["content"], list) else []
                images += [load_image(part) for part in parts if part.get("type") in ("image", "image_url")]
                if parts and self._text_only:
                    texts = [part["text"] for part in parts if part.get("type") == "text"]
                    message = {**message, "content": "\n".join(texts)}
                messages.append(message)
            row["image"], row["messages"] = images, messages


def load_image(part: dict[str, Any]) -> Any:
    """The image of a part of a message: an image, bytes, a data URL, a path or a URI."""
    from rayjup.data.datasource.image import pillow
    from rayjup.data.datasource.paths import resolve

    where = part.get("image", part.get("image_url"))
    where = where.get("url") if isinstance(where, dict) else where
    if hasattr(where, "convert"):
        return where
    if isinstance(where, bytes):
        return pillow().open(io.BytesIO(where))
    if not isinstance(where, str):
        raise ValueError(f"{part!r} names no image: give bytes, a path, a URI or a data URL.")
    if where.startswith("data:"):
        return pillow().open(io.BytesIO(base64.b64decode(where.partition(",")[2])))
    filesystem, path = resolve(where)
    with filesystem.open_input_stream(path) as stream:
        return pillow().open(io.BytesIO(stream.read()))
