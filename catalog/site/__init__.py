"""The published site: pages and data made from the catalog, then built with MkDocs.

`write_tree` writes a plain tree of Markdown and JSON that stands alone; `build_site` runs
MkDocs on it and puts the result in place.
"""

from catalog.site.build import Report, build_site
from catalog.site.tree import write_tree

__all__ = ["Report", "build_site", "write_tree"]
