"""Ready-made reducers, which combine while mapping, by themselves.

>>> from map_reduce import ServerInterface, reducers
>>> with ServerInterface() as server:                             # doctest: +SKIP
...     job = server.startup("logs/*.gz", sizes_by_path, reducers.sum)

Each is a function ``reduce(key, values)``. Called by hand, or in a sequential run, it gives what a
job gives:

    sum, count, mean         numbers; how many values there are
    min, max                 the smallest and the largest value
    top(3), bottom(3)        the three largest or smallest, in order; by a key function too
    first, last              in the order of the sequential run
    distinct                 the values without repetitions; count_distinct how many these are
    collect                  all values, in the order of the sequential run

Theory of operation. A reducer that makes less of its values has a *combiner*: ``combine(key,
values)`` gives one value that stands for them among the others. Where a result could be taken for a
value (a list of the top three, when the values are lists), it is a :class:`Part` of a class of its
own, and the last step is the reducer's own call. So parts and values may be mixed at will, however
often, and **the result does not depend on how a job was cut**, which is what the tests hold:

- sums of ints are exact, as always. Sums of floats are exact too, and rounded once, at the end:
  ``math.fsum``. Partial sums are kept as several floats that together are exact.
- the smallest and the largest are so by a total order (``ordering.py``); of equal values the first
  of the sequential run is taken.
- what cannot be combined without a difference (decimals, which are rounded at each addition) is
  not combined, and added up in order.

A combiner never fails for the values: it leaves them as they are, so the error is raised by the
reducer, for the key, wherever the job was cut. ``count`` is different: it looks at no value, so the
values are replaced before they are grouped (``execution/functions.py``).
"""

from __future__ import annotations

from map_reduce.reducers.adding import COUNT as count
from map_reduce.reducers.adding import MEAN as mean
from map_reduce.reducers.adding import SUM as sum
from map_reduce.reducers.base import Reducer
from map_reduce.reducers.keeping import COLLECT as collect
from map_reduce.reducers.keeping import COUNT_DISTINCT as count_distinct
from map_reduce.reducers.keeping import DISTINCT as distinct
from map_reduce.reducers.keeping import FIRST as first
from map_reduce.reducers.keeping import LAST as last
from map_reduce.reducers.ranking import MAX as max
from map_reduce.reducers.ranking import MIN as min
from map_reduce.reducers.ranking import bottom, top

__all__ = [
    "Reducer",
    "bottom",
    "collect",
    "count",
    "count_distinct",
    "distinct",
    "first",
    "last",
    "max",
    "mean",
    "min",
    "sum",
    "top",
]
