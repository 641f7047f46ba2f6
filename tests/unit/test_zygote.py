"""The agent's end of a real zygote."""

from __future__ import annotations

import asyncio

from rayjup.engine.node.zygotes import Zygote, spawn_zygote


def test_a_thousand_forks_asked_for_at_once(tmp_path):
    """Far more messages than a socket holds, in both directions, and nobody waits for anybody."""

    async def main():
        forked, ended = set(), set()
        finished = asyncio.get_running_loop().create_future()

        def on_message(zygote, message):
            if message[0] == "forked":
                forked.add(message[2])
            elif message[0] == "ended":
                ended.add(message[1])
                if len(ended) == 1000:
                    finished.set_result(None)

        process, sock = spawn_zygote(str(tmp_path))
        zygote = Zygote(process, sock, str(tmp_path / "zygote.log"), on_message, lambda zygote: None)
        try:
            for token in range(1000):  # a child without a place for its log ends at once
                assert zygote.fork(token, {"padding": "x" * 4000})
            await asyncio.wait_for(finished, 200)
        finally:
            zygote.close()
            await asyncio.to_thread(zygote.wait)
        return forked, ended

    forked, ended = asyncio.run(main())
    assert len(forked) == 1000 and ended == forked


def test_the_end_of_a_zygote_is_told_once_and_nothing_is_forked_from_it_later(tmp_path):
    async def main():
        ends = []
        ended = asyncio.get_running_loop().create_future()

        def on_end(zygote):
            ends.append(zygote)
            ended.set_result(None)

        process, sock = spawn_zygote(str(tmp_path))
        zygote = Zygote(process, sock, str(tmp_path / "zygote.log"), lambda *_: None, on_end)
        process.kill()
        process.wait()  # its end of the socket is closed, and we have not read that yet
        zygote.fork(1, {})
        await asyncio.wait_for(ended, 60)
        assert zygote.ended and not zygote.fork(2, {})
        return len(ends)

    assert asyncio.run(main()) == 1
