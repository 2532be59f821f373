"""Four years of weather in Seattle: extract, clean, aggregate in parallel, report.

The data is the CSV file that the package `vega-datasets` carries, so nothing is downloaded. Runs as it is with
`python weather.py`, and in a cluster after `penstock deploy weather.py`.
"""

import csv
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

from penstock import flow, get_run_logger, task

Row = dict[str, str]
Day = dict[str, object]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def dataset(name: str) -> Path:
    """Where the package keeps a file; found without importing it, for that would import pandas."""
    spec = find_spec("vega_datasets")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("vega-datasets is not installed: pip install vega-datasets, or use the examples' image")
    return Path(spec.submodule_search_locations[0]) / "_data" / name


@task(retries=2, retry_delay_seconds=1)
def extract(name: str) -> list[Row]:
    """Every row of the file, as text."""
    with dataset(name).open(newline="") as file:
        return list(csv.DictReader(file))


@task
def clean(rows: list[Row], since: int) -> list[Day]:
    """Typed rows from the year `since` on; rows that do not parse are left out and counted in the log."""
    days: list[Day] = []
    for row in rows:
        try:
            day = {
                "year": int(row["date"][:4]),
                "month": int(row["date"][5:7]),
                "date": row["date"],
                "rain": float(row["precipitation"]),
                "high": float(row["temp_max"]),
                "low": float(row["temp_min"]),
                "wind": float(row["wind"]),
                "weather": row["weather"],
            }
        except (KeyError, ValueError):
            continue
        if day["year"] >= since:
            days.append(day)
    get_run_logger().info("kept %d of %d rows", len(days), len(rows))
    return days


@task
def monthly_temperature(days: list[Day]) -> dict[str, float]:
    """Mean of the daily highs, by month."""
    highs = defaultdict(list)
    for day in days:
        highs[day["month"]].append(day["high"])
    return {MONTHS[month - 1]: round(mean(values), 1) for month, values in sorted(highs.items())}


@task
def yearly_rain(days: list[Day]) -> dict[int, float]:
    """Millimetres of rain, by year."""
    rain: dict[int, float] = defaultdict(float)
    for day in days:
        rain[day["year"]] += day["rain"]
    return {year: round(total, 1) for year, total in sorted(rain.items())}


@task
def kinds_of_weather(days: list[Day]) -> dict[str, int]:
    """Days of each kind of weather, most frequent first."""
    return dict(Counter(day["weather"] for day in days).most_common())


@task
def extremes(days: list[Day]) -> dict[str, str]:
    """The hottest, the coldest, the wettest and the windiest day."""
    hot, cold = max(days, key=lambda d: d["high"]), min(days, key=lambda d: d["low"])
    wet, windy = max(days, key=lambda d: d["rain"]), max(days, key=lambda d: d["wind"])
    return {
        "hottest": f"{hot['date']} ({hot['high']} °C)",
        "coldest": f"{cold['date']} ({cold['low']} °C)",
        "wettest": f"{wet['date']} ({wet['rain']} mm)",
        "windiest": f"{windy['date']} ({windy['wind']} m/s)",
    }


@task
def report(temperature: dict, rain: dict, weather: dict, extreme: dict) -> str:
    """The findings as a short text."""
    warmest = max(temperature, key=temperature.get)
    lines = [
        "Seattle, " + f"{min(rain)} to {max(rain)}",
        f"  warmest month   {warmest}, {temperature[warmest]} °C on average",
        "  rain by year    " + ", ".join(f"{year}: {mm} mm" for year, mm in rain.items()),
        "  weather         " + ", ".join(f"{kind} {days} days" for kind, days in weather.items()),
        *(f"  {name} day{' ' * (12 - len(name))}{what}" for name, what in extreme.items()),
    ]
    return "\n".join(lines)


@flow
def seattle_weather(since: int = 2012) -> str:
    """Report the weather of Seattle from a year on.

    Args:
        since: first year that counts.
    """
    days = clean(extract("seattle-weather.csv"), since)
    parts = [part.submit(days) for part in (monthly_temperature, yearly_rain, kinds_of_weather, extremes)]
    return report(*parts)


if __name__ == "__main__":
    print(seattle_weather())
