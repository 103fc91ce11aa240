"""clouds.yaml, secure.yaml and OS_*: what is understood, and how a mistake is told, without any request.

Not here: logging in (test_login.py).
"""

import json
import os
import warnings

import pytest
import trustme

from pipelines.auth import accounts
from pipelines.clouds import configured_clouds
from pipelines.errors import ConfigurationError
from pipelines.settings import Settings, load_settings
from tests.fakes import all_texts

CANARY = "canary-Password-{7}-of-the-cloud"
AUTH = {
    "auth_url": "https://iam.eu-de.example.com/v3",
    "username": "someone",
    "password": CANARY,
    "user_domain_name": "OTC-EU-DE-1",
}
CLOUD = {"auth": AUTH, "region_name": "eu-de"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, an environment without our settings and without a cloud."""
    monkeypatch.chdir(tmp_path)
    for name in [*map(str.upper, Settings.model_fields), *(name for name in os.environ if name.startswith("OS_"))]:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def write(folder, monkeypatch):
    """Writes clouds.yaml (JSON is YAML) and makes it the one in use."""

    def write(content, *, mode=0o600, name="clouds.yaml", variable="OS_CLIENT_CONFIG_FILE"):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        path.chmod(mode)
        monkeypatch.setenv(variable, str(path))
        return path

    return write


def the_cloud(name="otc", region="default"):
    (cloud,) = configured_clouds([name], region)
    return cloud


def refusal(*names, region="default") -> str:
    with pytest.raises(ConfigurationError) as caught:
        configured_clouds(names or ("otc",), region)
    assert CANARY not in all_texts(caught.value)
    assert CANARY[:16] not in all_texts(caught.value)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 400
    return text


def cloud_with(**changes):
    """CLOUD with other values in `auth`; None takes one out."""
    auth = {key: value for key, value in (AUTH | changes).items() if value is not None}
    return {"clouds": {"otc": CLOUD | {"auth": auth}}}


# What is understood


def test_a_cloud_of_the_file_is_read(write):
    write({"clouds": {"otc": CLOUD}})
    cloud = the_cloud()
    assert (cloud.name, cloud.region, cloud.auth_url, cloud.method) == ("otc", "eu-de", AUTH["auth_url"], "password")
    assert (cloud.interface, cloud.endpoint, cloud.ca_file) == ("public", None, None)
    assert cloud.auth["password"] == CANARY, "braces in a password are no template"


def test_a_cloud_does_not_show_its_secrets(write):
    write({"clouds": {"otc": CLOUD}})
    assert CANARY not in repr(the_cloud())


def test_the_password_may_stand_in_secure_yaml(write):
    write(cloud_with(password=None), mode=0o644)
    secure = {"clouds": {"otc": {"auth": {"password": CANARY}}}}
    write(secure, name="secure.yaml", variable="OS_CLIENT_SECURE_FILE")
    assert the_cloud().auth["password"] == CANARY


def test_the_environment_alone_makes_a_cloud(monkeypatch):
    for name, value in {"AUTH_URL": AUTH["auth_url"], "USERNAME": "someone", "PASSWORD": CANARY}.items():
        monkeypatch.setenv(f"OS_{name}", value)
    monkeypatch.setenv("OS_USER_DOMAIN_NAME", "OTC-EU-DE-1")
    monkeypatch.setenv("OS_REGION_NAME", "eu-de")
    monkeypatch.setenv("OS_VOLUME_BACKUP_ENDPOINT_OVERRIDE", "https://vbs.example.com/v2/%(project_id)s")
    cloud = the_cloud("envvars")
    assert (cloud.region, cloud.method, cloud.auth["password"]) == ("eu-de", "password", CANARY)
    assert cloud.endpoint == "https://vbs.example.com"


def test_a_secret_with_braces_in_the_environment_is_no_template(monkeypatch):
    monkeypatch.setenv("OS_AUTH_TYPE", "v3applicationcredential")
    monkeypatch.setenv("OS_AUTH_URL", AUTH["auth_url"])
    monkeypatch.setenv("OS_APPLICATION_CREDENTIAL_ID", "a1b2")
    monkeypatch.setenv("OS_APPLICATION_CREDENTIAL_SECRET", CANARY)
    assert the_cloud("envvars").auth["application_credential_secret"] == CANARY


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({}, "password"),
        ({"password": None, "token": "t"}, "token"),
        (
            {"password": None, "application_credential_id": "a", "application_credential_secret": "s"},
            "application credential",
        ),
    ],
)
def test_the_way_to_log_in_follows_from_what_is_given(changes, method, write):
    write(cloud_with(**changes))
    assert the_cloud().method == method


def test_a_domain_without_prefix_is_the_domain_of_the_user(write):
    write(cloud_with(user_domain_name=None, domain_name="OTC-EU-DE-1"))
    assert the_cloud().auth["domain_name"] == "OTC-EU-DE-1"


def test_a_vendor_profile_gives_the_address_and_the_setting_chooses_among_its_regions(write):
    write({"clouds": {"otc": {"profile": "otc", "auth": {k: v for k, v in AUTH.items() if k != "auth_url"}}}})
    cloud = the_cloud(region="eu-nl")
    assert (cloud.region, cloud.auth_url) == ("eu-nl", "https://iam.eu-nl.otc.t-systems.com/v3")
    assert refusal().startswith("cloud otc has the regions eu-de, eu-nl: set its region_name, or VBS_REGION")


def test_a_cloud_without_region_leaves_it_open(write):
    write({"clouds": {"otc": {"auth": AUTH}}})
    assert the_cloud().region is None


@pytest.mark.parametrize("key", ["volume_backup_endpoint_override", "vbs_endpoint_override", "vbsv2_endpoint_override"])
@pytest.mark.parametrize("end", ["", "/", "/v2", "/v2/%(project_id)s", "/v2/0123456789abcdef0123456789abcdef/"])
def test_an_endpoint_override_is_taken_in_every_form(key, end, write):
    write({"clouds": {"otc": CLOUD | {key: f"https://vbs.example.com:8443{end}"}}})
    assert the_cloud().endpoint == "https://vbs.example.com:8443"


def test_an_authority_of_ones_own_is_taken(write, folder):
    trustme.CA().cert_pem.write_to_path(str(folder / "ca.pem"))
    write({"clouds": {"otc": CLOUD | {"cacert": str(folder / "ca.pem")}}})
    assert the_cloud().ca_file == str(folder / "ca.pem")


# Mistakes


def test_an_unknown_cloud_is_refused_with_those_that_exist(write):
    write({"clouds": {"otc": CLOUD, "swiss": CLOUD}})
    assert refusal("oct") == "there is no cloud 'oct' in clouds.yaml, only: otc, swiss"


def test_a_file_without_clouds_is_named(write):
    path = write({"client": {}})
    assert refusal() == (
        f"there is no cloud 'otc': {path} names no clouds (OS_CLIENT_CONFIG_FILE, in the environment, says where it is)"
    )


def test_a_file_that_is_named_and_missing_is_refused(folder, monkeypatch):
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "nowhere.yaml")
    assert refusal() == "OS_CLIENT_CONFIG_FILE (nowhere.yaml) cannot be read: no such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(write):
    write({"clouds": {"otc": CLOUD}}, mode=0o000)
    assert "cannot be read: permission denied" in refusal()


@pytest.mark.parametrize(
    "content",
    [
        b"clouds:\n  otc:\n    auth: {password: " + CANARY.encode() + b", username: [\n",
        b"clouds: {otc: {auth: {password: '" + CANARY.encode() + b"\n",
        b"\tclouds:\n  password: " + CANARY.encode(),
        b"clouds: {otc: !!python/object:os.system {password: " + CANARY.encode() + b"}}",
        b"\xff\xfe" + CANARY.encode(),
        b"[" * 5000,
        b"clouds: {otc: *nobody}",
        b"clouds: [otc]",
        b"- clouds",
        b"just text " + CANARY.encode(),
    ],
)
def test_a_file_that_is_not_one_is_named_without_its_content(content, write):
    path = write(content)
    assert refusal().startswith(f"OS_CLIENT_CONFIG_FILE ({path}) is not ")


def test_the_line_of_the_mistake_is_told(write):
    write(b"clouds:\n  otc: [\n  - a\n")
    assert "is not YAML (line 3)" in refusal()


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666])
@pytest.mark.parametrize("secret", ["password", "token", "application_credential_secret"])
def test_a_file_with_a_secret_that_everybody_can_read_is_refused_with_the_remedy(mode, secret, write):
    write(cloud_with(**{"password": None, secret: CANARY}), mode=mode)
    assert refusal().endswith("can be read by everybody on this machine: chmod 600 it")


@pytest.mark.parametrize(
    ("cloud", "sentence"),
    [
        (None, "cloud otc cannot be understood"),
        ("text", "cloud otc cannot be understood"),
        ({"auth": [CANARY]}, "cloud otc cannot be understood"),
        ({}, "cloud otc lacks auth_url and password and username or user_id and user_domain_name or user_domain_id"),
        (CLOUD | {"auth": {}}, "cloud otc lacks auth_url and password"),
        (CLOUD | {"auth": AUTH | {"password": [CANARY]}}, "cloud otc: password is not text: put it in quotes"),
        (CLOUD | {"auth": AUTH | {"password": True}}, "cloud otc: password is not text: put it in quotes"),
        (CLOUD | {"auth": AUTH | {"auth_url": "iam.example.com"}}, "the auth_url of cloud otc is not an http(s) URL"),
        (CLOUD | {"auth": AUTH | {"auth_url": "http://iam.example.com"}}, "the auth_url of cloud otc begins with http"),
        (CLOUD | {"auth": AUTH | {"auth_url": "https://me:x@iam.example.com"}}, "the auth_url of cloud otc has more"),
        (CLOUD | {"auth": AUTH | {"auth_url": f"https://iam.{{{CANARY}}}.com"}}, "cloud otc cannot be understood"),
        (CLOUD | {"verify": False}, "cloud otc turns the check of certificates off"),
        (CLOUD | {"verify": "false"}, "cloud otc turns the check of certificates off"),
        (CLOUD | {"insecure": True}, "cloud otc turns the check of certificates off"),
        (CLOUD | {"insecure": "True"}, "cloud otc turns the check of certificates off"),
        (CLOUD | {"cacert": "/nowhere/ca.pem"}, "the cacert of cloud otc is no file of certificates"),
        (CLOUD | {"cacert": "clouds.yaml"}, "the cacert of cloud otc is no file of certificates"),
        (CLOUD | {"auth_type": "v3kerberos"}, "cloud otc has auth_type 'v3kerberos': password, token and"),
        (CLOUD | {"auth_type": None}, "cloud otc has auth_type 'None'"),
        (CLOUD | {"region_name": "../../etc"}, "the region_name of cloud otc is '../../etc': no such name"),
        (CLOUD | {"regions": [{"secret": CANARY}]}, "cloud otc cannot be understood"),
        (CLOUD | {"profile": "https://vendor.example.com"}, "cloud otc has an address as profile"),
        (CLOUD | {"profile": "nobody", "auth": {}}, "cloud otc lacks auth_url"),
        (CLOUD | {"networks": "x"}, "cloud otc cannot be understood"),
        (CLOUD | {"vbs_endpoint_override": "http://vbs.example.com"}, "the endpoint override of cloud otc begins with"),
        (
            CLOUD | {"vbs_endpoint_override": "https://u:p@vbs.example.com"},
            "the endpoint override of cloud otc has more",
        ),
        (CLOUD | {"odd": "{" + CANARY + "}"}, "cloud otc cannot be understood"),
    ],
)
def test_a_cloud_that_cannot_be_used_is_told_in_one_sentence(cloud, sentence, write):
    write({"clouds": {"otc": cloud}})
    assert refusal().startswith(sentence)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"password": None}, "password"),
        ({"username": None}, "username or user_id"),
        ({"user_domain_name": None}, "user_domain_name or user_domain_id"),
        ({"auth_url": None}, "auth_url"),
        ({"password": None, "application_credential_id": "a", "auth_type": "x"}, "password"),
        ({"password": None, "application_credential_secret": "s"}, "application_credential_id or application_cre"),
    ],
)
def test_a_missing_field_is_named(changes, field, write):
    write(cloud_with(**changes))
    assert refusal().startswith(f"cloud otc lacks {field}")


def test_checks_that_are_turned_off_in_the_environment_are_refused(monkeypatch):
    for name, value in {"OS_AUTH_URL": AUTH["auth_url"], "OS_TOKEN": CANARY, "OS_INSECURE": "true"}.items():
        monkeypatch.setenv(name, value)
    assert refusal("envvars").startswith("cloud envvars turns the check of certificates off")


def test_a_region_of_the_environment_that_the_cloud_lacks_is_refused(write, monkeypatch):
    write({"clouds": {"otc": CLOUD}})
    monkeypatch.setenv("OS_CLOUD", "otc")
    monkeypatch.setenv("OS_REGION_NAME", "eu-nl")
    assert refusal() == "OS_REGION_NAME is none of the regions of cloud otc: eu-de"


def test_a_mistake_reaches_no_log_and_no_warning(write, caplog, recwarn):
    caplog.set_level("DEBUG")
    write(b"clouds:\n  otc: {auth: {password: " + CANARY.encode() + b"}\n")
    refusal()
    write({"clouds": {"otc": CLOUD | {"region_name": "a,b", "cloud": "nobody", "external_network": "x"}}})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        configured_clouds(["otc"], "a")
    assert not told
    assert caplog.text == ""


# Which clouds


def test_several_clouds_come_in_the_order_of_their_names(write):
    write({"clouds": {"a": CLOUD, "b": CLOUD, "c": CLOUD}})
    assert [cloud.name for cloud in configured_clouds(["c", "a"], "default")] == ["c", "a"]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "no credential is set: name clouds of clouds.yaml in VBS_CLOUDS, or put a token"),
        ({"OS_CLOUD": "", "OS_AUTH_URL": ""}, "no credential is set"),
        ({"VBS_CLOUDS": "otc,otc"}, "VBS_CLOUDS names 'otc' twice"),
        ({"VBS_CLOUDS": "oct"}, "there is no cloud 'oct' in clouds.yaml, only: otc"),
        ({"OS_CLOUD": "oct"}, "there is no cloud 'oct' in clouds.yaml, only: otc"),
        ({"OS_AUTH_URL": "https://iam.example.com"}, "cloud envvars lacks password"),
        ({"OS_AUTH_URL": "https://iam.example.com", "OS_CLOUD_NAME": "mine"}, "cloud mine lacks password"),
        ({"VBS_CLOUDS": "otc,two", "VBS_ENDPOINT": "https://vbs.example.com"}, "VBS_ENDPOINT is set and VBS_CLOUDS"),
        ({"VBS_CLOUDS": "otc", "VBS_ENDPOINT": "http://vbs.example.com"}, "VBS_ENDPOINT begins with http://"),
        ({"VBS_CLOUDS": "otc", "VBS_PROJECTS": "a,a"}, "VBS_PROJECTS names a twice"),
    ],
)
def test_what_is_wrong_before_the_first_login_is_told_then(environment, sentence, write, monkeypatch):
    content = {"clouds": {"otc": CLOUD}}
    if "two" in environment.get("VBS_CLOUDS", ""):
        content["clouds"]["two"] = CLOUD
    write(content)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        accounts(load_settings())
    assert str(caught.value).startswith(sentence)
    assert CANARY not in all_texts(caught.value)
