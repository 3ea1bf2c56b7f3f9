"""The sections of a page of scores alone, one file each, in the order of ``PLACE``.

A file holds ``PLACE``, a number, and ``chart(scores)``, which returns a :class:`dametric.reports.Chart`, or None where
there is nothing to show.
"""
