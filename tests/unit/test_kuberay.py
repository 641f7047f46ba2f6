"""KubeRay's manifests as cluster files: groups, jobs, services, and what of them has no effect."""

from __future__ import annotations

from typing import Any

import pytest

from rayjup.cluster import cluster_file, kuberay

pytest.importorskip("yaml", reason="cluster files need pyyaml (rayjup[clusters])")

WORKER = {
    "groupName": "small",
    "replicas": 2,
    "minReplicas": 1,
    "maxReplicas": 5,
    "rayStartParams": {"resources": '"{\\"license\\": 2}"', "labels": "disk=ssd,zone=a", "block": "true"},
    "template": {
        "metadata": {"name": "not-this", "labels": {"team": "blue"}},
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"disk": "ssd"},
            "containers": [
                {
                    "name": "ray-worker",
                    "image": "a:1",
                    "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "ray stop"]}}},
                    "resources": {
                        "limits": {"cpu": "1500m", "memory": "10Gi", "nvidia.com/gpu": 2},
                        "requests": {"cpu": 1},
                    },
                },
                {"name": "side", "image": "b:1"},
            ],
        },
    },
}


def manifest(kind: str = "RayCluster", **changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "rayVersion": "2.60.0",
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0", "port": "6390"}},
        "workerGroupSpecs": [WORKER],
        **changes,
    }
    if kind == "RayJob":
        spec = {"entrypoint": "python a.py", "rayClusterSpec": spec}
    if kind == "RayService":
        spec = {"serveConfigV2": "applications: []", "rayClusterConfig": spec}
    metadata = {"name": "pods", "namespace": "team", "annotations": {kuberay.PYTHON: "/opt/python"}}
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("kind", kuberay.KINDS)
def test_groups_become_types_of_nodes(kind: str) -> None:
    file = cluster_file.parse(manifest(kind))
    assert (file.name, file.remarks) == ("pods", ())
    assert file.launcher == {
        "launcher": "kubernetes",
        "setup": [],
        "namespace": "team",
        "python": "/opt/python",
    }
    assert file.provider["port"] == 6390
    assert file.head is not None and file.head.resources == {"CPU": 0}
    (small,) = file.scaling.types
    # Without the autoscaler there are as many as it says, neither more nor fewer.
    assert (small.name, small.min_workers, small.max_workers, file.scaling.max_workers) == ("small", 2, 2, 2)
    own = {"CPU": 2, "GPU": 2, "license": 2, "memory": 7 << 30, "object_store_memory": 3 << 30}
    assert dict(small.resources) == own
    assert small.labels == {"disk": "ssd", "zone": "a"}
    assert small.node_config["metadata"] == {"labels": {"team": "blue"}}
    spec = small.node_config["spec"]
    assert spec["nodeSelector"] == {"disk": "ssd"} and "restartPolicy" not in spec
    assert spec["containers"][0]["image"] == "a:1" and spec["containers"][0]["lifecycle"] == {}
    assert spec["containers"][1] == {"name": "side", "image": "b:1"}


def test_limits_of_the_autoscaler() -> None:
    group = {**WORKER, "idleTimeoutSeconds": 7, "numOfHosts": 2}
    options = {"idleTimeoutSeconds": 90, "upscalingMode": "Conservative", "image": "x"}
    data = manifest(enableInTreeAutoscaling=True, autoscalerOptions=options, workerGroupSpecs=[group])
    file = cluster_file.parse(data)
    (small,) = file.scaling.types
    assert (small.min_workers, small.max_workers, small.idle_timeout_s) == (2, 10, 7)
    assert (file.scaling.idle_timeout_s, file.scaling.upscaling_speed) == (90, 1)
    assert file.remarks == (
        "workerGroupSpecs[0] (small).numOfHosts: the pods of a replica come and go one by one.",
        "autoscalerOptions: image has no effect: the autoscaler is a process beside the head.",
    )
    changed = cluster_file.parse({**data, "cluster_name": "other", "max_workers": 3})
    assert (changed.name, changed.scaling.max_workers) == ("other", 3)


def test_what_has_no_effect_is_named() -> None:
    container = {"name": "w", "image": "a", "command": ["sleep"], "resources": {"limits": {"cpu": 1}}}
    template = {"spec": {"restartPolicy": "Always", "containers": [container]}}
    group = {**WORKER, "template": template, "rayStartParams": {"metrics-export-port": "1"}, "maxReplica": 3}
    head = {"serviceType": "NodePort", "enableIngress": False, "template": template}
    data = manifest(workerGroupSpecs=[group], headGroupSpec=head, headServiceAnnotations={}, colour="red")
    remarks = "\n".join(cluster_file.parse({**data, kuberay.OTHERS: ["ConfigMap code"]}).remarks)
    for part in (
        "spec.colour is unknown, and has no effect.",
        "headGroupSpec.serviceType has no effect: no service is made for the head.",
        "headGroupSpec.template has no effect beside its CPUs and GPUs",
        "workerGroupSpecs[0].maxReplica is unknown, and has no effect. Did you mean maxReplicas?",
        "workerGroupSpecs[0] (small).rayStartParams: metrics-export-port has no effect.",
        "workerGroupSpecs[0] (small): restartPolicy has no effect",
        "workerGroupSpecs[0] (small): command of its first container has no effect",
        "ConfigMap code is not applied: use kubectl apply for it.",
    ):
        assert part in remarks
    assert "enableIngress" not in remarks and "headServiceAnnotations" not in remarks


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"apiVersion": "ray.io/v1", "kind": "RayHouse"}, "'RayHouse' describes no cluster: read are RayC"),
        ({"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {}}, r"metadata\.name is missing"),
        ({**manifest(), "spec": {}}, r"spec is missing: what the cluster"),
        ({**manifest("RayJob"), "spec": {"entrypoint": "a"}}, r"spec\.rayClusterSpec is missing"),
        (manifest(suspend=True), r"spec\.suspend is true"),
        (manifest(workerGroupSpecs=[WORKER, WORKER]), "two of workerGroupSpecs have one name: small, small"),
        (manifest(workerGroupSpecs=[{"groupName": "w"}]), r"workerGroupSpecs\[0\] \(w\) does not say what"),
        (manifest(workerGroupSpecs=[{"template": {}}]), r"workerGroupSpecs\[0\]\.groupName is missing"),
        (
            manifest(workerGroupSpecs=[{**WORKER, "rayStartParams": {"num-cpus": "many"}}]),
            r"\(small\): 'many' is no amount",
        ),
        (
            manifest(workerGroupSpecs=[{**WORKER, "rayStartParams": {"resources": "x=1"}}]),
            r"\(small\): resources: 'x=1' is no JSON object",
        ),
        (manifest(autoscalerOptions={"upscalingMode": "Quick"}), "'Quick' is none of Default, Aggressive"),
    ],
)
def test_errors_name_the_place(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^that file: .*{message}"):
        cluster_file.parse(data, "that file")


def test_jobs() -> None:
    data = manifest("RayJob")
    data["spec"] |= {
        "runtimeEnvYAML": "env_vars: {A: b}\n",
        "entrypointNumCpus": 0.5,
        "entrypointResources": '{"license": 1}',
        "jobId": "one",
        "metadata": {"n": 1},
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 3,
        "activeDeadlineSeconds": 60,
        "backoffLimit": 2,
    }
    assert cluster_file.parse(data).remarks == (
        "spec.backoffLimit has no effect: a job that fails is not tried again.",
    )
    submission = {
        "entrypoint": "python a.py",
        "submission_id": "one",
        "runtime_env": {"env_vars": {"A": "b"}},
        "metadata": {"n": "1"},
        "entrypoint_num_cpus": 0.5,
        "entrypoint_resources": {"license": 1},
    }
    assert kuberay.job(data) == kuberay.Job(submission, None, True, 3.0, 60.0)
    assert kuberay.job(manifest()) is None and kuberay.job({"provider": {}}) is None
    elsewhere = {**data, "spec": {"entrypoint": "a", "clusterSelector": {"ray.io/cluster": "blue"}}}
    assert kuberay.job(elsewhere) == kuberay.Job({"entrypoint": "a"}, "blue")
    assert kuberay.translate(elsewhere)[0]["available_node_types"] == {}
    elsewhere["spec"]["clusterSelector"] = {"team": "a"}
    with pytest.raises(ValueError, match=r"write ray\.io/cluster: NAME"):
        kuberay.job(elsewhere)
    assert kuberay.job({**data, "spec": {"submissionMode": "InteractiveMode"}}) is None
    with pytest.raises(ValueError, match=r"spec\.entrypoint is missing"):
        kuberay.job({**data, "spec": {}})
    with pytest.raises(ValueError, match=r"spec\.runtimeEnvYAML is no YAML"):
        kuberay.job({**data, "spec": {"entrypoint": "a", "runtimeEnvYAML": "{"}})


def test_services() -> None:
    assert kuberay.serve_config(manifest("RayService")) == {"applications": []}
    assert kuberay.serve_config(manifest("RayJob")) is None
    with pytest.raises(ValueError, match=r"spec\.serveConfigV2 is missing"):
        kuberay.serve_config({**manifest("RayService"), "spec": {}})
    with pytest.raises(ValueError, match=r"spec\.serveConfigV2 is no mapping"):
        kuberay.serve_config({**manifest("RayService"), "spec": {"serveConfigV2": "a"}})


def test_files_with_more_than_one_manifest(tmp_path) -> None:
    file = tmp_path / "all.yaml"
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: code}\n---\n"
    ours = "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: NAME}\nspec: {headGroupSpec: {}}\n"
    file.write_text(config + ours)
    read = cluster_file.read(str(file))
    assert (read.name, read.remarks) == (
        "NAME",
        ("ConfigMap code is not applied: use kubectl apply for it.",),
    )
    file.write_text("---\n".join([ours, ours.replace("NAME", "two")]))
    with pytest.raises(ValueError, match=r"several clusters \(RayCluster NAME, RayCluster two\)"):
        cluster_file.read(str(file))
