"""What training and inference will take, before anything runs: memory by tracing without data, hours, disk.

``track`` follows the life of every storage, ``fake`` gives models without data, ``cuda`` makes a trace choose what a
GPU would, ``scratch`` knows what kernels allocate besides, ``step`` is the traced step, ``predict`` puts them together.
"""
