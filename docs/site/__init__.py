"""The documentation as a site: `make docs` builds it into `build/docs`.

    sources.py      the pages as Sphinx reads them, made from the Markdown files of the repository
    reference.py    the pages with the docstrings of all public names
    pictures.py     pictures of terminals, which `make pictures` draws into `docs/pictures`
    conf.py         the settings of Sphinx
    static/         what is added to the theme

The Markdown files are written for GitHub, and their links lead from file to file. So they are not
read where they lie: `python -m docs.site` copies them into `build/docs-sources`, with each link led
to the page of the site that shows the file.
"""
