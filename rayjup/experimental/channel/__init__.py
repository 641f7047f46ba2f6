"""Channels between processes of one machine: what compiled graphs send their data through."""

from rayjup.experimental.channel.common import ChannelInterface, ChannelOutputType
from rayjup.experimental.channel.shared_memory_channel import Channel, Layout, Reader, Writer

__all__ = ["Channel", "ChannelInterface", "ChannelOutputType", "Layout", "Reader", "Writer"]
