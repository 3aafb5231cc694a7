"""All metadata stands in pyproject.toml; this file says how the compiled part is made.

Its extension is optional: where it cannot be compiled, for want of a compiler or of Python's
headers, the package is installed without it, and does the same in Python (map_reduce/kernel.py).
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "map_reduce._kernel",
            ["map_reduce/_kernel.c"],
            extra_compile_args=["-O3"],  # without it, counting line ends is not vectorised
            optional=True,
        )
    ]
)
