"""The site of README, docs and docstrings that `make docs` builds."""

import re

project = "HAEMSA in JAX"
html_title = project
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "haemsa_jax/pretrained/**/*.md"]
myst_heading_anchors = 3  # links to headings, as on GitHub

# Single backticks in docstrings hold code, as in Markdown; fields are described by `Attributes:`.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False  # Linen's are long
napoleon_use_ivar = True
napoleon_attr_annotations = False

# Where the sidebar's entries come from: GitHub would show them as code, so pages have none.
CONTENTS = {
    "README": {
        "Use": "data words tasks partial evolution comparing embedding recordings devices faults",
        "Evidence": "results limits glossary ../haemsa_jax/pretrained/sentiment/MODEL_CARD "
        "../BUILD_NOTES ../CHANGELOG",
        "Extend": "../CONTRIBUTING api/index",
    },
    "BUILD_NOTES": {"Decisions": "decisions/*"},
}


def add_contents(app, name, source):
    for caption, pages in CONTENTS.get(name, {}).items():
        lines = "\n".join(f"/docs/{page}" for page in pages.split())
        source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{lines}\n```\n"


def skip_field(app, what, name, member, skip, options):
    """Fields of named tuples, of which Python itself says their number only."""
    return skip or (member.__doc__ or "").startswith("Alias for field number")


def short_signature(app, what, name, member, options, signature, returns):
    """What Sphinx reads as Python: no reprs of defaults, and nothing that Linen adds to modules."""
    signature = re.sub(r"(, )?parent: \S*Module .*\)", ")", signature or "")
    signature = re.sub(r"<class '([\w.]+)'>", r"\1", signature.replace("<factory>", "..."))
    return signature or None, returns


def setup(app):
    app.connect("source-read", add_contents)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("autodoc-process-signature", short_signature)
