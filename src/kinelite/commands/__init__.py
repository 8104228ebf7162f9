"""One file per verb (``eval_.py`` is `kinelite eval`): a dataclass of flags, and ``main(args)`` that returns
the result.

The trailing underscore keeps the names apart from Python's own words.
"""
