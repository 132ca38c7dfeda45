"""Packaging: everything is read from settings.ini, so that nbdev and pip agree."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
cfg = ConfigParser(delimiters=["="])
cfg.read(here / "settings.ini", encoding="utf-8")
cfg = cfg["DEFAULT"]

suffix = "_requirements"
extras = {key[: -len(suffix)]: cfg[key].split() for key in cfg if key.endswith(suffix)}
extras["all"] = sorted({req for reqs in extras.values() for req in reqs})


class BuildWithFilms(build_py):
    "Puts the demo films, which live in data/demo, beside the module that reads them; a checkout reads them in place."
    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "movierec/data"); self.mkpath(str(target))
            self.copy_file(str(here / "data/demo/films.csv"), str(target / "films.csv"))


setup(
    cmdclass={"build_py": BuildWithFilms},
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8") if (here / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    license="Apache-2.0",
    keywords=cfg["keywords"],
    packages=find_packages(include=["movierec", "movierec.*"]),
    include_package_data=True,
    package_data={"movierec": ["static/**/*", "weights/*/*"]},
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": cfg["console_scripts"].split("\n")},
)
