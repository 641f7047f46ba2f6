"""What every layer uses: ids, exceptions, options, serialization. No I/O happens here."""
