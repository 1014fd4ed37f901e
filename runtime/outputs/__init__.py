"""Where results go: windows, videos, streams, messages."""
