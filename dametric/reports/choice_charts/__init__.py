"""The sections of a page of a choice, one file each, in the order of ``PLACE``.

A file holds ``PLACE``, a number, and ``chart(choice)``, which returns a :class:`dametric.reports.Chart`, or None where
there is nothing to show.
"""
