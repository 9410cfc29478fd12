"""A plausible company: who works there, when they work, and what they work on."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

SLOTS = 300
_ADMINS = 12
_ANALYSTS = 96

_EPOCH = date(1970, 1, 1)
# A job is held for seven to thirteen years: about thirty of three hundred people change in a year.
_TENURE_DAYS = (2_500, 4_800)

_AUGUST = 8
_SATURDAY = 5
# How likely somebody shows up although the site is closed.
_ON_CALL = {"ADMIN": 0.015, "ANALYST": 0.004, "MEMBER": 0.004}

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Site:
    """A place of the company: its clock, its holidays and the names of its people."""

    city: str
    utc_offset_hours: float
    domain: str
    share: float
    network: str
    holidays: frozenset[tuple[int, int]]
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    is_partner: bool = False


def _days(text: str) -> frozenset[tuple[int, int]]:
    """Read month-day pairs; everybody has New Year and Christmas."""
    days = ["01-01", "12-25", *text.split()]
    return frozenset((int(day[:2]), int(day[3:])) for day in days)


# Documentation domains and networks only (RFC 2606, RFC 5737): nothing here can belong to anybody.
SITES = (
    Site(
        "München", 1.0, "aurelia-foods.example", 0.42, "192.0.2",
        _days("01-06 05-01 10-03 11-01 12-24 12-26 12-31"),
        ("Jürgen", "Anneliese", "Björn", "Käthe", "Lukas", "Sabine", "Götz", "Mareike", "Tobias",
         "Ulrike", "Sören", "Franziska", "Matthias", "Heike", "Jonas", "Leonie"),
        ("Müller", "Schröder", "Weiß", "Böhm", "Köhler", "Groß", "Fischer", "Jäger", "Vogel",
         "Krämer", "Lehmann", "Brandt", "Günther", "Hofmann", "Schäfer", "Roth"),
    ),
    Site(
        "Łódź", 1.0, "pl.aurelia-foods.example", 0.22, "198.51.100",
        _days("01-06 05-01 05-03 08-15 11-01 11-11 12-26"),
        ("Łukasz", "Małgorzata", "Paweł", "Agnieszka", "Michał", "Zofia", "Stanisław", "Katarzyna",
         "Grzegorz", "Elżbieta", "Wojciech", "Kinga"),
        ("Wiśniewski", "Wójcik", "Dąbrowska", "Kozłowski", "Jabłońska", "Zając", "Król",
         "Pawłowska", "Michalski", "Gołębiowska", "Sikora", "Baran"),
    ),
    Site(
        "Chicago", -6.0, "us.aurelia-foods.example", 0.18, "203.0.113",
        _days("06-19 07-04 11-11"),
        ("Maria", "James", "Ashley", "DeShawn", "Megan", "Carlos", "Emily", "Tyler", "Rachel",
         "Brandon", "Siobhan", "Kevin"),
        ("Johnson", "O'Neill", "Nuñez", "Williams", "Garcia", "Miller", "Nguyen", "Davis",
         "Anderson", "Washington", "Lopez", "Clark"),
    ),
    Site(
        "大阪", 9.0, "jp.aurelia-foods.example", 0.08, "198.51.100",
        _days("01-02 01-03 02-11 04-29 05-03 05-04 05-05 11-03 11-23"),
        ("Haruto", "Yui", "Sota", "Aoi", "Kenji", "Sakura"),
        ("Satō", "Suzuki", "Takahashi", "Tanaka", "Watanabe", "Itō"),
    ),
    Site(
        "Pune", 5.5, "process-partners.example", 0.10, "203.0.113",
        _days("01-26 08-15 10-02"),
        ("Aarav", "Priya", "Rohan", "Ananya", "Vikram", "Neha"),
        ("Sharma", "Patel", "Deshpande", "Iyer", "Kulkarni", "Rao"),
        is_partner=True,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class User:
    """A member of the team.

    Attributes:
        id: The UUID that the API calls user id.
        role: ADMIN, ANALYST or MEMBER.
        presence: Share of the working days on which the person uses the product.
        login_type: How the person signs in.
    """

    id: str
    name: str
    email: str
    role: str
    site: Site
    presence: float
    login_type: str
    address: str

    @property
    def label(self) -> str:
        """The person as the audit log names one: ``<uuid> (<e-mail>)``."""
        return f"{self.id} ({self.email})"


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that people work on: a package, a data pool, an action flow, a group."""

    id: str
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What the company has built in the product."""

    packages: tuple[Asset, ...]
    nodes: tuple[Asset, ...]
    pools: tuple[Asset, ...]
    tables: tuple[Asset, ...]
    flows: tuple[Asset, ...]
    groups: tuple[Asset, ...]
    objects: tuple[Asset, ...]
    projects: tuple[Asset, ...]


@dataclass(frozen=True, slots=True)
class Team:
    """The team on one day.

    Attributes:
        day: The day, counted from 1970.
        changes: Who left and who joined on that day, in pairs.
    """

    day: int
    users: tuple[User, ...]
    changes: tuple[tuple[User, User], ...]
    portfolio: Portfolio


class Company:
    """The people of a company and what they have built, all from one seed.

    Every job is always taken: when somebody leaves, somebody else joins. So there is a team on any
    day, and who is in it depends on the seed and the day alone.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = Random(f"{seed}/company")
        self._jobs = [(rng.randint(*_TENURE_DAYS), rng.randrange(100_000)) for _ in range(SLOTS)]
        self._people: dict[tuple[int, int], User] = {}
        self._latest: tuple[range, tuple[User, ...]] = range(0), ()
        self._portfolio = Portfolio(
            packages=_assets(rng, _PACKAGES),
            nodes=_assets(rng, _NODES),
            pools=_assets(rng, _POOLS),
            tables=_assets(rng, _TABLES),
            flows=_assets(rng, _FLOWS),
            groups=_assets(rng, _GROUPS),
            objects=_assets(rng, _OBJECTS),
            projects=_assets(rng, _PROJECTS),
        )

    def team(self, day: int) -> Team:
        """Return the team on a day, counted from 1970."""
        spell, users = self._latest
        if day not in spell:
            turns = [divmod(day + phase, tenure) for tenure, phase in self._jobs]
            # Nobody comes or goes between these two days.
            first = day - min(age for _, age in turns)
            stop = day + min(
                tenure - age for (tenure, _), (_, age) in zip(self._jobs, turns, strict=True)
            )
            spell = range(first, stop)
            users = tuple(self.person(slot, turn) for slot, (turn, _) in enumerate(turns))
            self._latest = spell, users
        changes = [
            (self.person(slot, turn - 1), self.person(slot, turn))
            for slot, (tenure, phase) in enumerate(self._jobs if day == spell.start else ())
            for turn, age in [divmod(day + phase, tenure)]
            if age == 0
        ]
        return Team(day, users, tuple(changes), self._portfolio)

    def tenures(self, day: int) -> list[tuple[User, int]]:
        """Return the team on a day, and for each of them the first day in it."""
        turns = [divmod(day + phase, tenure) for tenure, phase in self._jobs]
        return [(self.person(slot, turn), day - age) for slot, (turn, age) in enumerate(turns)]

    def person(self, slot: int, turn: int) -> User:
        """Return who holds a job for the so-many-th time; the team's jobs have the first slots."""
        person = self._people.get((slot, turn))
        if person is None:
            person = self._people[slot, turn] = self._hire(slot, turn)
        return person

    def _hire(self, slot: int, turn: int) -> User:
        rng = Random(f"{self.seed}/user/{slot}/{turn}")
        site = rng.choices(SITES, [site.share for site in SITES])[0]
        first, last = rng.choice(site.first_names), rng.choice(site.last_names)
        local = f"{first}.{last}".lower()
        # Most mail systems spell names in ASCII; an internationalised address is rare, but legal.
        if not chance(rng, 0.02):
            local = _ascii(local)
        role = "ADMIN" if slot < _ADMINS else "ANALYST" if slot < _ADMINS + _ANALYSTS else "MEMBER"
        return User(
            id=new_uuid(rng),
            name=f"{first} {last}",
            # The slot keeps two people of one name apart.
            email=f"{local}{slot or ''}@{site.domain}",
            role=role,
            site=site,
            presence=min(0.95, 0.06 + 0.9 * rng.random() ** (1.4 if role == "MEMBER" else 0.7)),
            login_type=rng.choices(
                ("LOGIN_SSO", "LOGIN_CELONIS_ID", "LOGIN_OIDC", "LOGIN"), (78, 12, 6, 4)
            )[0],
            address=f"{site.network}.{rng.randrange(1, 255)}",
        )


def at_work(team: Team, rng: Random) -> list[User]:
    """Return who uses the product on the team's day."""
    moment = _EPOCH + timedelta(days=team.day)
    today = (moment.month, moment.day)
    weekend = moment.weekday() >= _SATURDAY
    # People are away more in August and between the years.
    share = 0.7 if moment.month == _AUGUST or today >= (12, 22) else 0.9
    closed = {site.city for site in SITES if weekend or today in site.holidays}
    return [
        user
        for user in team.users
        if rng.random()
        < (_ON_CALL[user.role] if user.site.city in closed else user.presence * share)
    ]


def working_ms(user: User, rng: Random) -> int:
    """Return a time of a person's working day as milliseconds of the UTC day."""
    local = 8.0 + 4.75 * (rng.random() + rng.random())
    return int((local - user.site.utc_offset_hours) % 24 * _HOUR_MS)


def chance(rng: Random, probability: float) -> bool:
    """Decide something that is true with a probability."""
    return rng.random() < probability


def new_uuid(rng: Random) -> str:
    """Return a random UUID."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _ascii(text: str) -> str:
    for letter, spelling in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"), ("ł", "l")):
        text = text.replace(letter, spelling)
    decomposed = unicodedata.normalize("NFKD", text)
    return decomposed.encode("ascii", "ignore").decode()


def _assets(rng: Random, names: str) -> tuple[Asset, ...]:
    return tuple(
        Asset(id=new_uuid(rng), name=name, key=f"{_ascii(name).replace(' ', '-').lower()}-{index}")
        for index, name in enumerate(names.split(" | "), start=1)
    )


_PACKAGES = (
    "Order to Cash | Procure to Pay | Accounts Payable | Accounts Receivable | Rechnungsprüfung"
    " | Zażółć Zakupy | 購買プロセス | Inventory Health | Working Capital | Logistics Control Tower"
    " | Bestandsführung | Service Desk | Hire to Retire | Cold Chain | Supplier Scorecard"
    " | Master Data Quality | Opłaty i Faktury | 在庫管理 | Late Delivery Alerts | CFO Cockpit"
)
_NODES = (
    "Overview | On-time Delivery | Touchless Rate | Payment Terms | Duplicate Invoices | Rework"
    " | Lead Time by Plant | Blocked Orders | Übersicht Werke | Przegląd dostaw | 概要 | KPI Tree"
    " | Knowledge Model | Simulation | Root Causes | Action View | Maverick Buying | Price Changes"
)
_POOLS = (
    "SAP ECC Europe | SAP S/4HANA Global | Salesforce | ServiceNow | Coupa | Workday | Oracle EBS"
    " | Kraków WMS | Logistik Süd | 基幹システム | Snowflake Share | Event Log Staging"
)
_TABLES = (
    "VBAK | VBAP | EKKO | EKPO | BKPF | BSEG | LIKP | LIPS | O_CEL_SalesOrder | E_CEL_Delivery"
    " | _CEL_O2C_ACTIVITIES | _CEL_P2P_ACTIVITIES"
)
_FLOWS = (
    "Remind Approver | Release Credit Block | Notify Planner | Sync Vendors | Update Delivery Date"
    " | Mahnlauf prüfen | Zamów ponownie | 承認依頼 | Escalate Ticket | Close Duplicate Invoice"
)
_GROUPS = (
    "Finance Analysts | Procurement | Logistics | Data Engineering | External Consultants"
    " | Werkleitung | Zarządzanie | 経理部 | Auditors | Champions"
)
_OBJECTS = (
    "SalesOrder | SalesOrderItem | Delivery | DeliveryItem | VendorInvoice | PurchaseOrder"
    " | PurchaseOrderItem | Payment | Customer | Material | Shipment | CreditBlock"
)
_PROJECTS = "Invoice Entry | Order Desk | Kundenservice | Dział Kadr | 受注窓口 | Claims Handling"
