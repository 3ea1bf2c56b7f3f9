"""Figures and pages; never imports torch."""
