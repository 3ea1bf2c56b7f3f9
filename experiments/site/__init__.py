"""The site of documentation: pages made of the code (``python -m experiments.site``), and what mkdocs asks for help."""
