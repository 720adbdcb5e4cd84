"""The site: its daemon, one client job process for each job, and the trainers that those start.

The site's own file decides what runs here; a job can only name a trainer in it.
"""

from federant.site.config import SiteConfig, TrainerConfig, load_config
from federant.site.daemon import run_site
from federant.site.errors import FolderInUseError, NameInUseError, SiteConfigError, SiteError

__all__ = [
    "FolderInUseError",
    "NameInUseError",
    "SiteConfig",
    "SiteConfigError",
    "SiteError",
    "TrainerConfig",
    "load_config",
    "run_site",
]
