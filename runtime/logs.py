"""What a program that embeds siamedge may want in its log."""


def warn(source: str, message: str, *values: object) -> None:
    """Log a warning. logging is imported when there is something to say: it takes 2 ms of every start.

    Args:
        source: Name of the module that warns.
        message: With places for the values, as logging takes it.
        values: For them.
    """
    import logging

    logging.getLogger(source).warning(message, *values)
