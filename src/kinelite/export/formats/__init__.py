"""Files for other runtimes, one module each; `kinelite.export.Format` is what a module provides."""
