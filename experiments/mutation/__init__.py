"""Do the tests notice when the code is wrong? `make mutation`, or `python -m experiments.mutation`.

Mutants are drawn at random from the parts that compute: one operator, number, comparison, condition, loop, decorator or
exception changed at one place. Each is put into a private copy of the repository and meets the tests that execute its
line, nearest first. The table says which test noticed it, or why none can.

- `mutants` draws them, `execute` runs tests on a copy, `seen` finds out which test executes which line,
  `table` keeps the results.
"""
