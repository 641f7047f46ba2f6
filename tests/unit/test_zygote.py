"""The agent's end of a real zygote."""

from __future__ import annotations

import asyncio

from rayjup.engine.node.zygote import Zygote, spawn_zygote


def test_a_thousand_forks_asked_for_at_once(tmp_path):
    """Far more messages than a socket holds, in both directions, and nobody waits for anybody."""

    async def main():
        seen = {"forked": set(), "ended": set()}
        finished = asyncio.get_running_loop().create_future()

        def on_message(message):
            kind = message[0]
            seen[kind].add(message[2] if kind == "forked" else message[1])
            if len(seen["ended"]) == 1000:
                finished.set_result(None)

        zygote = Zygote(*spawn_zygote(str(tmp_path)), on_message, lambda: None)
        try:
            for token in range(1000):  # "parent": a child that finds another one ends at once
                zygote.send(("fork", token, {"parent": -1, "padding": "x" * 4000}))
            await asyncio.wait_for(finished, 50)
        finally:
            await zygote.close()
        return seen

    seen = asyncio.run(main())
    assert len(seen["forked"]) == 1000 and seen["ended"] == seen["forked"]


def test_the_end_of_a_zygote_is_told_once_and_later_messages_are_dropped(tmp_path):
    async def main():
        ends = []
        ended = asyncio.get_running_loop().create_future()

        def on_end():
            ends.append(1)
            ended.set_result(None)

        zygote = Zygote(*spawn_zygote(str(tmp_path)), lambda message: None, on_end)
        zygote.process.kill()
        zygote.process.wait()  # its end of the socket is closed, and we have not read that yet
        zygote.send(("fork", 1, {}))
        await asyncio.wait_for(ended, 20)
        zygote.send(("fork", 2, {}))
        await zygote.close()
        return ends

    assert asyncio.run(main()) == [1]
