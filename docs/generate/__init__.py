"""Makes the site: `python -m docs.generate docs/site`, which is what `make docs` runs.

`readme.py` parts the README into pages, `operations.py` looks at the operations, `derivations.py` writes a page for
each of them and `reference.py` one for each module, `links.py` checks what Sphinx made of it all (`docs/conf.py`).
What is written goes to a folder that is removed afterwards, and never into the repository.
"""
