"""Where frames come from: recordings, cameras, streams, drawn scenes."""
