"""Topics of Kafka, through ``kafka-python``."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext
from rayjup.data.datasource.json import as_json
from rayjup.data.datasource.pieces import PiecesDatasource, need

_ROWS = 10_000


@dataclass
class KafkaAuthConfig:
    """How to log in; each field is the setting of the same name of ``kafka-python``."""

    security_protocol: str | None = None
    sasl_mechanism: str | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password: str | None = None
    sasl_kerberos_name: str | None = None
    sasl_kerberos_service_name: str | None = None
    sasl_kerberos_domain_name: str | None = None
    sasl_oauth_token_provider: Any | None = None
    ssl_context: Any | None = None
    ssl_check_hostname: bool | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = None
    ssl_ciphers: str | None = None
    ssl_crlfile: str | None = None

    def settings(self) -> dict[str, Any]:
        """Those that were given."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class KafkaDatasource(PiecesDatasource):
    """The messages of topics between two offsets, a partition per piece.

    Parameters
    ----------
    topics, bootstrap_servers
        Which, and where.
    start_offset, end_offset
        An offset, a moment, ``earliest`` or ``latest``; or a dict by topic and partition.
    kafka_auth_config, consumer_config
        How to log in, and further settings.
    """

    SCHEMA = pa.schema(
        [
            ("offset", pa.int64()),
            ("key", pa.binary()),
            ("value", pa.binary()),
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("timestamp", pa.int64()),
            ("timestamp_type", pa.int32()),
            ("headers", pa.map_(pa.string(), pa.binary())),
        ]
    )

    def __init__(
        self,
        topics: str | list[str],
        bootstrap_servers: str | list[str],
        start_offset: Any = "earliest",
        end_offset: Any = "latest",
        kafka_auth_config: KafkaAuthConfig | None = None,
        consumer_config: dict[str, Any] | None = None,
    ) -> None:
        need("kafka", "Kafka", "kafka-python")
        self._topics = [topics] if isinstance(topics, str) else list(topics)
        self._start, self._end = start_offset, end_offset
        self._settings = {
            **(consumer_config or {}),
            **(kafka_auth_config.settings() if kafka_auth_config is not None else {}),
            "bootstrap_servers": bootstrap_servers,
            "enable_auto_commit": False,
        }

    def _consumer(self) -> Any:
        return need("kafka", "Kafka", "kafka-python").KafkaConsumer(**self._settings)

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def known_schema(self) -> pa.Schema | None:
        """The same for all topics."""
        return self.SCHEMA

    def pieces(self, parallelism: int) -> Sequence[tuple[str, int, int, int]]:
        """Topic, partition, first offset and the one after the last."""
        from kafka import TopicPartition

        consumer = self._consumer()
        try:
            found = []
            for topic in self._topics:
                numbers = consumer.partitions_for_topic(topic)
                if not numbers:
                    raise ValueError(f"There is no topic {topic!r} at {self._settings['bootstrap_servers']}.")
                for number in sorted(numbers):
                    partition = TopicPartition(topic, number)
                    start = self._offset(consumer, partition, self._start, "earliest")
                    end = self._offset(consumer, partition, self._end, "latest")
                    if end > start:
                        found.append((topic, number, start, end))
            return found
        finally:
            consumer.close()

    @staticmethod
    def _offset(consumer: Any, partition: Any, wanted: Any, otherwise: str) -> int:
        if isinstance(wanted, dict):
            wanted = wanted.get(partition.topic, {}).get(partition.partition, otherwise)
        first = consumer.beginning_offsets([partition])[partition]
        last = consumer.end_offsets([partition])[partition]
        if isinstance(wanted, datetime.datetime):
            found = consumer.offsets_for_times({partition: int(wanted.timestamp() * 1000)})[partition]
            return last if found is None else found.offset
        if wanted == "earliest":
            return first
        return last if wanted == "latest" else min(max(int(wanted), first), last)

    def piece_rows(self, piece: tuple[str, int, int, int]) -> int | None:
        """At most so many: a topic may have gaps."""
        return None

    def read_piece(self, piece: tuple[str, int, int, int]) -> Iterator[pa.Table]:
        """The messages of a partition."""
        from kafka import TopicPartition

        topic, number, start, end = piece
        partition = TopicPartition(topic, number)
        consumer = self._consumer()
        try:
            consumer.assign([partition])
            consumer.seek(partition, start)
            rows: list[dict[str, Any]] = []
            while consumer.position(partition) < end:
                for record in consumer.poll(timeout_ms=1000, max_records=_ROWS).get(partition, []):
                    if record.offset < end:
                        rows.append(self._row(record))
                if len(rows) >= _ROWS:
                    yield pa.Table.from_pylist(rows, self.SCHEMA)
                    rows = []
            if rows:
                yield pa.Table.from_pylist(rows, self.SCHEMA)
        finally:
            consumer.close()

    @staticmethod
    def _row(record: Any) -> dict[str, Any]:
        names = ("offset", "key", "value", "topic", "partition", "timestamp", "timestamp_type")
        return {**{name: getattr(record, name) for name in names}, "headers": list(record.headers or [])}


def _to_json(value: Any) -> bytes:
    return json.dumps(value, default=as_json).encode()


def _to_text(value: Any) -> bytes:
    return str(value).encode()


def _to_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else _to_text(value)


SERIALIZERS: dict[str, Callable[[Any], bytes]] = {"json": _to_json, "string": _to_text, "bytes": _to_bytes}


class KafkaDatasink(Datasink[int]):
    """A topic to which each row is sent as a message.

    Parameters
    ----------
    topic, bootstrap_servers
        Where to.
    key_field
        The column whose value is the key.
    key_serializer, value_serializer
        ``json``, ``string`` or ``bytes``.
    producer_config
        For Kafka's producer.
    """

    def __init__(
        self,
        topic: str,
        bootstrap_servers: str,
        key_field: str | None = None,
        key_serializer: str = "string",
        value_serializer: str = "json",
        producer_config: dict[str, Any] | None = None,
    ) -> None:
        need("kafka", "Kafka", "kafka-python")
        for name, given in (("key_serializer", key_serializer), ("value_serializer", value_serializer)):
            if given not in SERIALIZERS:
                raise ValueError(f"{name}={given!r} is not one of {', '.join(SERIALIZERS)}.")
        self._topic, self._key = topic, key_field
        self._encode_key, self._encode = SERIALIZERS[key_serializer], SERIALIZERS[value_serializer]
        self._settings = {**(producer_config or {}), "bootstrap_servers": bootstrap_servers}

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> int:
        """Send the rows of a task; gives their number."""
        producer = need("kafka", "Kafka", "kafka-python").KafkaProducer(**self._settings)
        sent = []
        try:
            for block in blocks:
                for row in BlockAccessor.for_block(block).iter_rows(False):
                    key = None if self._key is None else row.get(self._key)
                    encoded = None if key is None else self._encode_key(key)
                    sent.append(producer.send(self._topic, key=encoded, value=self._encode(row)))
            producer.flush()
            for future in sent:
                future.get(timeout=60)  # raises what went wrong with this message
        finally:
            producer.close()
        return len(sent)
