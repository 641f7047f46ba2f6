"""Channels between processes of one machine: what compiled graphs send their data through."""

from rayjup.experimental.channel.common import ChannelInterface, ChannelOutputType
from rayjup.experimental.channel.layout import Layout
from rayjup.experimental.channel.shared_memory_channel import Channel, Reader, Writer

__all__ = ["Channel", "ChannelInterface", "ChannelOutputType", "Layout", "Reader", "Writer"]
