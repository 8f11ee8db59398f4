"""The chart: its values against their schema and, where helm is at hand, its objects against those of Kubernetes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from proxy import __version__
from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.load import load

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "signalbox"
HELM = shutil.which("helm") or shutil.which("helm", path=str(ROOT / ".cache" / "bin"))
KUBERNETES = "1.34.0"

needs_helm = pytest.mark.skipif(HELM is None, reason="no helm on the path or in .cache/bin (tests/setup.sh)")

SHARED: dict[str, Any] = {
    "database": {"existingSecret": "signalbox-database"},
    "redis": {"existingSecret": "signalbox-redis", "key": "redis-url"},
    "auth": {"existingSecret": "signalbox-auth"},
}
PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "secrets": {
        "secrets": {"existingSecret": "signalbox-keys"},
        "extraEnv": [{"name": "LOG_LEVEL", "value": "debug"}],
        "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
    },
    "replicas": {
        **SHARED,
        "replicaCount": 3,
        "pdb": {"enabled": True},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "autoscaling": {
        **SHARED,
        "autoscaling": {"enabled": True},
        "extraEnv": [{"name": "PGSSLMODE", "value": "require"}],
    },
    "own config map with PostgreSQL": {
        "existingConfigMap": "mine",
        "database": {"type": "postgresql"},
        "replicaCount": 2,
        "secrets": {"existingSecret": "signalbox-keys"},
    },
    "volume claim": {"dataVolume": {"existingClaim": "signalbox-data"}},
    "own config map": {"existingConfigMap": "mine", "serviceAccount": {"create": False}},
    "node port": {"service": {"type": "NodePort", "nodePort": 30080, "annotations": {"a/b": "c"}}},
    "dual stack": {"service": {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}},
    "own configuration": {"config": {"providers": {"azure": {"base_url": "https://a.example/openai/v1"}}}},
    "bare": {"topologySpreadConstraints": [], "drain": {"preStopSeconds": 0}, "serviceAccount": {"automount": True}},
    "digest": {"image": {"registry": "registry.example/", "digest": "sha256:" + "0" * 64}},
}


def schema() -> dict[str, Any]:
    found = json.loads((CHART / "values.schema.json").read_text())
    assert isinstance(found, dict)
    return found


def defaults() -> dict[str, Any]:
    found = yaml.safe_load((CHART / "values.yaml").read_text())
    assert isinstance(found, dict)
    return found


def helm(values: dict[str, Any], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [str(HELM), "template", "demo", str(CHART), "--namespace", "llm", "--kube-version", KUBERNETES]
    return subprocess.run(
        [*command, "--values", str(file)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def render(values: dict[str, Any], tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The rendered objects by kind; there is at most one of each."""
    done = helm(values, tmp_path)
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert len({document["kind"] for document in documents}) == len(documents)
    return {document["kind"]: document for document in documents}


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object that the schema describes by its members."""
    if isinstance(node, dict):
        if "properties" in node:
            yield path, node
        for name, child in node.items():
            yield from objects(child, f"{path}/{name}")


def test_the_chart_and_the_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == __version__


def test_the_default_values_fit_their_schema() -> None:
    jsonschema.validate(defaults(), schema())


def test_the_defaults_and_the_schema_have_the_same_members() -> None:
    assert set(schema()["properties"]) - {"global"} == set(defaults())


def test_the_schema_rejects_unknown_members() -> None:
    assert [path for path, node in objects(schema()) if node.get("additionalProperties") is not False] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 2},
        {"image": {"tags": "x"}},
        {"image": {"digest": "latest"}},
        {"service": {"port": 0}},
        {"service": {"type": "Clusterip"}},
        {"service": {"ipFamilyPolicy": "DualStack"}},
        {"service": {"ipFamilies": ["ipv6"]}},
        {"probes": {"readiness": {"period": 1}}},
        {"extraEnv": [{"value": "without a name"}]},
        {"containerPort": 80},
        {"drain": {"preStopSecond": 5}},
        {"database": {"url": "postgresql://u:p@h/d"}},
        {"database": {"type": "mysql"}},
        {"redis": {"existingSecretKey": "url"}},
        {"auth": {"pepper": "x"}},
        {"autoscaling": {"minReplicas": 0}},
        {"migrations": {"enable": False}},
    ],
    ids=str,
)
def test_a_typing_error_in_the_values_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())


@needs_helm
@pytest.mark.parametrize("profile", PROFILES)
def test_kubernetes_accepts_what_is_rendered(profile: str, tmp_path: Path) -> None:
    rendered = render(PROFILES[profile], tmp_path)

    assert {"Deployment", "Service"} <= set(rendered)
    for document in rendered.values():
        kubernetes_validate.validate(document, ".".join(KUBERNETES.split(".")[:2]), strict=True)


@needs_helm
def test_the_same_values_render_the_same_bytes(tmp_path: Path) -> None:
    assert helm(PROFILES["secrets"], tmp_path).stdout == helm(PROFILES["secrets"], tmp_path).stdout


@needs_helm
def test_the_pod_has_no_privilege(tmp_path: Path) -> None:
    pod = render({}, tmp_path)["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@needs_helm
def test_the_pod_is_probed_where_the_proxy_answers(tmp_path: Path) -> None:
    [container] = render({"containerPort": 9000}, tmp_path)["Deployment"]["spec"]["template"]["spec"]["containers"]

    assert container["ports"] == [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]
    assert container["startupProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


@needs_helm
def test_the_config_map_is_the_containers(tmp_path: Path) -> None:
    values = {"containerPort": 9000, "drain": {"timeoutSeconds": 60}, "config": {"server": {"max_body": "5MiB"}}}

    config = yaml.safe_load(render(values, tmp_path)["ConfigMap"]["data"]["signalbox.yaml"])

    assert config["server"] == {"host": "::", "port": 9000, "drain": "60s", "max_body": "5MiB"}
    assert config["data_dir"] == "/var/lib/signalbox"


def configuration(values: dict[str, Any], tmp_path: Path) -> Path:
    """The file in the rendered config map."""
    file = tmp_path / "signalbox.yaml"
    file.write_text(render(values, tmp_path)["ConfigMap"]["data"]["signalbox.yaml"])
    return file


@needs_helm
@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": "sk-test"}], ids=["without keys", "with a key"])
def test_the_default_configuration_of_the_chart_can_be_used(environ: dict[str, str], tmp_path: Path) -> None:
    settings = load(configuration({}, tmp_path), environ).settings

    assert settings.server.host == "::"
    assert settings.server.drain == defaults()["drain"]["timeoutSeconds"]
    assert [model.id for model in settings.models] == ["openai/gpt-4o-mini", "openai/gpt-4o"]


@needs_helm
@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "10.0.0.1"])
def test_the_address_to_listen_on_is_free(host: str, tmp_path: Path) -> None:
    file = configuration({"config": {"server": {"host": host}}}, tmp_path)

    assert load(file, {}).settings.server.host == host


@needs_helm
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"server": {"max_body": "5MiB"}},
        {"providers": {"azure": {"base_url": "https://a.example/openai/v1", "keys": [{"value": "${AZURE_KEY}"}]}}},
    ],
    ids=["default", "a setting", "own provider"],
)
def test_the_chart_never_enables_stand_ins(config: dict[str, Any], tmp_path: Path) -> None:
    snapshot = compile_snapshot(load(configuration({"config": config}, tmp_path), {}).settings)

    assert snapshot.providers == {}
    assert len(snapshot.left_out) == 1


@needs_helm
def test_nothing_is_merged_under_a_configuration_of_ones_own(tmp_path: Path) -> None:
    values = {"config": {"providers": {"azure": {"base_url": "https://a.example/openai/v1"}}}}

    settings = load(configuration(values, tmp_path), {}).settings

    assert (list(settings.providers), settings.models) == (["azure"], ())


@needs_helm
def test_stand_ins_are_the_operators_choice(tmp_path: Path) -> None:
    settings = load(configuration({"config": {"mock_when_no_keys": True}}, tmp_path), {}).settings

    assert settings.mock_when_no_keys


@needs_helm
def test_container_settings_are_rejected_in_the_configuration(tmp_path: Path) -> None:
    refused = helm({"config": {"server": {"port": 9000}}}, tmp_path)

    assert refused.returncode != 0
    assert "config.server.port is set by the chart: containerPort" in refused.stderr


@needs_helm
def test_a_changed_configuration_rolls_the_pods(tmp_path: Path) -> None:
    sums = []
    for size in ("5MiB", "6MiB"):
        template = render({"config": {"server": {"max_body": size}}}, tmp_path)["Deployment"]["spec"]["template"]
        sums.append(template["metadata"]["annotations"]["checksum/config"])

    assert sums[0] != sums[1]


@needs_helm
def test_a_grace_period_that_would_cut_streams_is_refused(tmp_path: Path) -> None:
    refused = helm({"terminationGracePeriodSeconds": 600}, tmp_path)

    assert refused.returncode != 0
    assert "streams would be cut" in refused.stderr


@needs_helm
def test_secrets_reach_the_pod_as_environment_only(tmp_path: Path) -> None:
    rendered = render(PROFILES["secrets"], tmp_path)
    [container] = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]

    assert container["envFrom"] == [{"secretRef": {"name": "signalbox-keys"}}, {"configMapRef": {"name": "more"}}]
    assert {"name": "LOG_LEVEL", "value": "debug"} in container["env"]
    assert "Secret" not in rendered


@needs_helm
def test_a_digest_wins_over_the_tag(tmp_path: Path) -> None:
    [container] = render(PROFILES["digest"], tmp_path)["Deployment"]["spec"]["template"]["spec"]["containers"]

    assert container["image"] == "registry.example/signalbox@sha256:" + "0" * 64


# --- stores ---------------------------------------------------------------------------------------------------------


@needs_helm
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicaCount": 2}, "replicaCount is 2, and the store is SQLite"),
        ({"autoscaling": {"enabled": True}}, "autoscaling.enabled needs a database"),
        ({"replicaCount": 2, "config": {"store": "sqlite:///x/y.db"}}, "the store is SQLite"),
        ({"replicaCount": 2, "existingConfigMap": "mine"}, "or database.type"),
        ({"config": {"store": "postgresql://u:secret@h/d"}}, "put it into a secret"),
        ({**SHARED, "config": {"store": "none"}}, "config.store is set by the chart: database.existingSecret"),
        ({**SHARED, "config": {"state": "memory"}}, "config.state is set by the chart: redis.existingSecret"),
        ({**SHARED, "config": {"auth": {"pepper": "x"}}}, "config.auth.pepper is set by the chart"),
        (
            {**SHARED, "replicaCount": 2, "dataVolume": {"existingClaim": "x"}},
            "dataVolume.existingClaim is for one pod",
        ),
        ({"database": {"type": "postgresql"}}, "database.type is for existingConfigMap only"),
        ({**SHARED, "autoscaling": {"enabled": True, "minReplicas": 11}}, "is more than autoscaling.maxReplicas"),
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], words: str, tmp_path: Path) -> None:
    refused = helm(values, tmp_path)

    assert refused.returncode != 0
    assert words in refused.stderr
    assert "secret@" not in refused.stderr


@needs_helm
@pytest.mark.parametrize(
    "values",
    [
        {**SHARED, "replicaCount": 3},
        {"replicaCount": 3, "config": {"store": "none"}},
        {"replicaCount": 3, "existingConfigMap": "mine", "database": {"type": "none"}},
    ],
    ids=["PostgreSQL", "no store", "own config map"],
)
def test_replicas_need_no_sqlite(values: dict[str, Any], tmp_path: Path) -> None:
    spec = render(values, tmp_path)["Deployment"]["spec"]

    assert (spec["replicas"], spec["strategy"]["type"]) == (3, "RollingUpdate")


@needs_helm
def test_one_pod_with_sqlite_is_replaced_after_it_has_ended(tmp_path: Path) -> None:
    rendered = render(PROFILES["volume claim"], tmp_path)
    spec = rendered["Deployment"]["spec"]

    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"] == {"claimName": "signalbox-data"}
    assert "Job" not in rendered


@needs_helm
def test_autoscaling_decides_about_the_replicas(tmp_path: Path) -> None:
    rendered = render(PROFILES["autoscaling"], tmp_path)

    assert "replicas" not in rendered["Deployment"]["spec"]
    target = rendered["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", rendered["Deployment"]["metadata"]["name"])


@needs_helm
def test_urls_and_keys_come_from_secrets(tmp_path: Path) -> None:
    rendered = render({**SHARED, "replicaCount": 2}, tmp_path)
    [container] = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in container["env"]}
    auth = {"name": "signalbox-auth", "optional": True}

    assert {name: reference for name, reference in env.items() if reference} == {
        "SIGNALBOX_STORE": {"name": "signalbox-database", "key": "url"},
        "SIGNALBOX_STATE": {"name": "signalbox-redis", "key": "redis-url"},
        "SIGNALBOX_ADMIN_TOKEN": {**auth, "key": "admin-token"},
        "SIGNALBOX_PEPPER": {**auth, "key": "pepper"},
        "SIGNALBOX_ENCRYPTION_KEY": {**auth, "key": "encryption-key"},
    }
    config = yaml.safe_load(rendered["ConfigMap"]["data"]["signalbox.yaml"])
    assert (config["store"], config["state"]) == ("${SIGNALBOX_STORE}", "${SIGNALBOX_STATE}")
    assert config["auth"] == {
        "admin_token": "${SIGNALBOX_ADMIN_TOKEN:-}",
        "pepper": "${SIGNALBOX_PEPPER:-}",
        "encryption_key": "${SIGNALBOX_ENCRYPTION_KEY:-}",
    }


@needs_helm
@pytest.mark.parametrize("pepper", [{}, {"SIGNALBOX_PEPPER": "p" * 32}], ids=["without a pepper", "with a pepper"])
def test_configuration_reads_what_the_secrets_contain(pepper: dict[str, str], tmp_path: Path) -> None:
    values = {**SHARED, "config": {"auth": {"provider_keys": "off"}}}
    urls = {"SIGNALBOX_STORE": "postgresql://u:p@db/signalbox", "SIGNALBOX_STATE": "redis://:p@redis:6379/0"}

    settings = load(configuration(values, tmp_path), {**urls, **pepper}).settings

    assert (settings.store, settings.state) == tuple(urls.values())
    assert len(settings.auth.peppers) == len(pepper)
    assert (settings.auth.encryption_key, settings.auth.provider_keys) == (None, "off")


@needs_helm
def test_schema_is_migrated_before_the_release_exists(tmp_path: Path) -> None:
    rendered = render({**SHARED, "replicaCount": 2}, tmp_path)
    job = rendered["Job"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-weight": "-5",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert (job["spec"]["activeDeadlineSeconds"], pod["restartPolicy"], container["args"]) == (
        600,
        "Never",
        ["migrate"],
    )
    assert pod["serviceAccountName"] == "default"  # that of the release does not exist yet, nor its config map
    assert [volume["name"] for volume in pod["volumes"] if "configMap" in volume] == []
    assert [each["name"] for each in container["env"]] == ["SIGNALBOX_CONFIG", "SIGNALBOX_STORE"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert not rendered["Service"]["spec"]["selector"].items() <= labels.items()
    assert (
        container["securityContext"]
        == rendered["Deployment"]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    )


@needs_helm
def test_migration_uses_a_config_map_of_ones_own(tmp_path: Path) -> None:
    pod = render(PROFILES["own config map with PostgreSQL"], tmp_path)["Job"]["spec"]["template"]["spec"]

    assert {"name": "config", "configMap": {"name": "mine"}} in pod["volumes"]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "signalbox-keys"}}]


@needs_helm
def test_migrations_can_be_left_to_the_operator(tmp_path: Path) -> None:
    assert "Job" not in render({**SHARED, "migrations": {"enabled": False}}, tmp_path)


def test_image_reads_the_urls_that_the_chart_passes() -> None:
    config = yaml.safe_load((ROOT / "config" / "signalbox.yaml").read_text())

    assert config["store"] == "${SIGNALBOX_STORE:-sqlite}"
    assert config["state"] == "${SIGNALBOX_STATE:-memory}"
