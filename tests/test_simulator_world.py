"""The simulated world: which shares exist on which day, and what their records look like.

Not here: how they are served (test_simulator.py).
"""

import itertools
import json
import re
from collections import Counter

import pytest

from pipelines.observation import PROJECT_ID, Direction
from pipelines.simulator.records import KEY_MATERIAL_MARK, Record
from pipelines.simulator.world import World
from tests.fakes import by_id, ids

OUT, IN = Direction.OUTGOING, Direction.INCOMING


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def big_world() -> World:
    return World(seed=3, projects=3, shares=1000)


def test_two_worlds_of_one_seed_are_equal_on_every_day():
    one, other = World(seed=11), World(seed=11)
    assert [one.shares(day) for day in range(20)] == [other.shares(day) for day in range(20)]


def test_another_seed_is_another_world():
    assert World(seed=1).projects != World(seed=2).projects


def test_a_day_is_the_same_whatever_was_asked_before():
    straight, jumping = World(), World()
    expected = [straight.shares(day) for day in range(13)]
    assert [jumping.shares(day) for day in (12, 0, 7)] == [expected[day] for day in (12, 0, 7)]


def test_the_world_has_no_day_before_day_0(world):
    with pytest.raises(ValueError, match="no day -1"):
        world.shares(-1)


def test_a_world_has_exactly_the_shares_asked_for_on_day_0(world, big_world):
    assert (len(world.shares(0)), len(big_world.shares(0))) == (60, 1000)


@pytest.mark.parametrize("size", [{"projects": 1, "shares": 1}, {"projects": 1, "shares": 0}, {"projects": 12}])
def test_odd_sizes_live_for_a_month(size):
    world = World(**size)
    for day in range(30):
        assert len(set(ids(world.shares(day)))) == len(world.shares(day))


def test_project_ids_look_like_project_ids(world):
    assert len(world.projects) == 3
    assert all(re.fullmatch(PROJECT_ID, project) for project in world.projects + world.foreign_projects)


def test_share_ids_are_lower_case_uuids_and_do_not_follow_creation(big_world):
    records = big_world.shares(0)
    uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(uuid, record["id"]) for record in records)
    in_time = [record["id"] for record in sorted(records, key=lambda record: record["created_at"])]
    rising = sum(before < after for before, after in itertools.pairwise(in_time))
    assert 400 < rising < 600


def test_about_a_fifth_of_the_shares_is_between_own_projects(big_world):
    own = set(big_world.projects)
    kinds = Counter((r["from_project_id"] in own, r["to_project_id"] in own) for r in big_world.shares(0))
    assert kinds[False, False] == 0
    assert 150 < kinds[True, True] < 260
    assert min(kinds[True, False], kinds[False, True]) > 300


@pytest.mark.parametrize("day", [0, 40])
def test_a_backup_has_one_to_ten_different_recipients(big_world, day):
    recipients: dict[str, list[str]] = {}
    for record in big_world.shares(day):
        recipients.setdefault(record["backup_id"], []).append(record["to_project_id"])
        assert record["from_project_id"] != record["to_project_id"]
    sizes = {len(projects) for projects in recipients.values()}
    assert min(sizes) == 1
    assert 3 <= max(sizes) <= 10
    assert all(len(set(projects)) == len(projects) for projects in recipients.values())


def test_even_a_small_world_has_a_backup_with_three_recipients():
    assert max(Counter(record["backup_id"] for record in World(shares=3).shares(0)).values()) == 3


@pytest.mark.parametrize("day", [0, 25])
def test_all_shares_of_a_backup_carry_the_same_backup_from_one_giver(big_world, day):
    seen: dict[str, tuple[Record, str]] = {}
    for record in big_world.shares(day):
        known = seen.setdefault(record["backup_id"], (record["backup"], record["from_project_id"]))
        assert known == (record["backup"], record["from_project_id"])
        assert record["backup"]["id"] == record["backup_id"]


def test_creation_times_tie_within_and_across_backups(big_world):
    backups: dict[str, set[str]] = {}
    for record in big_world.shares(0):
        backups.setdefault(record["created_at"], set()).add(record["backup_id"])
    assert max(len(tied) for tied in backups.values()) >= 2
    counts = Counter(record["created_at"] for record in big_world.shares(0))
    assert sum(count > 1 for count in counts.values()) > 50


def test_records_have_the_fields_of_the_spec_page(world):
    record = world.shares(0)[0]
    assert sorted(record) == [
        "backup",
        "backup_id",
        "created_at",
        "from_project_id",
        "id",
        "to_project_id",
        "updated_at",
    ]
    assert sorted(record["backup"]) == [
        "availability_zone",
        "container",
        "created_at",
        "data_timestamp",
        "description",
        "fail_reason",
        "has_dependent_backups",
        "id",
        "is_incremental",
        "name",
        "object_count",
        "service_metadata",
        "size",
        "snapshot_id",
        "status",
        "updated_at",
        "volume_id",
    ]


def test_times_have_six_fraction_digits_no_zone_and_lie_before_the_day(world):
    for day in (0, 30):
        dusk = world.moment(day).strftime("%Y-%m-%dT%H:%M:%S.%f")
        for record in world.shares(day):
            times = [record["created_at"], record["updated_at"], record["backup"]["updated_at"]]
            times += [record["backup"]["data_timestamp"], record["backup"]["created_at"]]
            for time in filter(None, times):
                assert re.fullmatch(r"202[4-6]-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", time)
                assert time < dusk
            assert record["backup"]["created_at"] < record["created_at"]


def test_every_oddity_occurs_in_the_default_world(world):
    backups = list({record["backup_id"]: record["backup"] for record in world.shares(0)}.values())
    names = [backup["name"] for backup in backups]
    text = " ".join(filter(None, names))
    for odd in ("<script>", "\x1b", "\u202e", "=HYPERLINK(", "数据库", "autobk_"):
        assert odd in text
    assert None in names
    assert {"available", "error"} <= {backup["status"] for backup in backups}
    assert all(backup["fail_reason"] for backup in backups if backup["status"] == "error")
    assert any("has_dependent_backup" in backup for backup in backups)
    assert any((backup["description"] or "").startswith('{"DESC"') for backup in backups)
    assert {backup["availability_zone"] for backup in backups} == {"eu-de-01", "eu-de-02"}


def test_service_metadata_is_json_text_and_sometimes_holds_key_material(big_world):
    backups = {record["backup_id"]: record["backup"] for record in big_world.shares(0)}.values()
    texts = [backup["service_metadata"] for backup in backups]
    assert None in texts
    assert any(text and text.startswith("  ") for text in texts)
    parsed = [json.loads(text) for text in texts if text]
    keys = [values["VK"] for values in parsed if values["VK"]]
    assert all(re.fullmatch(KEY_MATERIAL_MARK + "[0-9a-f]{56}", key) for key in keys)
    assert 0.04 < len(keys) / len(texts) < 0.06
    assert all(isinstance(values["BT"], str) and isinstance(values["progress"], str) for values in parsed)


@pytest.mark.parametrize("day", [1, 2, 3, 17, 60])
def test_every_day_of_a_small_world_brings_a_new_a_withdrawn_and_a_changed_share(world, day):
    before, after = by_id(world.shares(day - 1)), by_id(world.shares(day))
    changed = [share for share in before.keys() & after.keys() if before[share]["backup"] != after[share]["backup"]]
    assert after.keys() - before.keys()
    assert before.keys() - after.keys()
    assert changed


def test_days_pass_at_the_rates_asked_for():
    world = World(shares=1000, new_rate=0.02, withdrawn_rate=0.01, change_rate=0.005, return_rate=0.0)
    before, after = by_id(world.shares(0)), by_id(world.shares(1))
    changed = {r["backup_id"] for r in before.values() if r["id"] in after and after[r["id"]]["backup"] != r["backup"]}
    assert len(after.keys() - before.keys()) == 20
    assert len(before.keys() - after.keys()) == 10
    assert len(changed) == 5


def test_rates_of_zero_stop_the_world():
    world = World(new_rate=0, withdrawn_rate=0, change_rate=0, return_rate=0)
    assert world.shares(9) == world.shares(0)


def test_some_content_changes_without_a_new_update_time(world):
    silent = 0
    for day in range(1, 40):
        before = by_id(world.shares(day - 1))
        for record in world.shares(day):
            old = before.get(record["id"], record)["backup"]
            silent += old != record["backup"] and old["updated_at"] == record["backup"]["updated_at"]
    assert silent > 5


def test_a_withdrawn_share_may_return_with_its_id(world):
    gone: set[str] = set()
    returned = 0
    for day in range(1, 40):
        now, before = set(ids(world.shares(day))), set(ids(world.shares(day - 1)))
        returned += len(now & gone)
        gone = (gone | before) - now
    assert 3 <= returned <= 25


def test_a_small_world_neither_dies_out_nor_explodes(world):
    assert 50 < len(world.shares(400)) < 70


def test_a_share_between_own_projects_stands_in_both_listings(world):
    record = next(r for r in world.shares(0) if {r["from_project_id"], r["to_project_id"]} <= set(world.projects))
    assert record in world.listing(0, record["from_project_id"], OUT)
    assert record in world.listing(0, record["to_project_id"], IN)
