"""What must hold for every object of an overlay, and no schema knows: python rules.py FILE

Prints every breach; ends with 1 when there is one.
"""

import sys
from pathlib import Path

import yaml

README = Path("deploy/README.md").read_text()
RUNS = {"Deployment", "StatefulSet", "Job"}


def breaches(objects):
    runs = [o for o in objects if o["kind"] in RUNS]
    for each in runs:
        yield from of_pod(name(each), each["spec"]["template"])
    for each in (o for o in objects if o["kind"] == "Deployment"):
        yield from of_deployment(each, objects)
    for each in (o for o in objects if o["kind"] == "Service"):
        if not any(fits(each["spec"]["selector"], run) for run in runs):
            yield f"{name(each)} leads to no pod"
    for each in (o for o in objects if o["kind"] == "Secret"):
        yield f"{name(each)}: a secret does not lie beside the code"
    if not any(denies_all(o) for o in objects if o["kind"] == "NetworkPolicy"):
        yield "what no policy names is not forbidden"


def of_pod(who, template):
    """The restricted profile of the Pod Security Standards, and a little more."""
    spec = template["spec"]
    context = spec.get("securityContext", {})
    wanted = {
        "runs as nobody": context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0,
        "has a seccomp profile": context.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "has no token of Kubernetes": spec.get("automountServiceAccountToken") is False,
        "gets no variables from Services": spec.get("enableServiceLinks") is False,
        "belongs to the shop": template["metadata"]["labels"].get("app.kubernetes.io/name") == "carmel",
        "has no folder of its node": not any("hostPath" in volume for volume in spec.get("volumes", [])),
    }
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        resources = container.get("resources", {})
        wanted |= {
            "gains no privileges": own.get("allowPrivilegeEscalation") is False,
            "has no capabilities": own.get("capabilities", {}).get("drop") == ["ALL"],
            "has a read-only root": own.get("readOnlyRootFilesystem") is True,
            "asks for CPU and memory": {"cpu", "memory"} <= resources.get("requests", {}).keys(),
            "has a limit of memory": "memory" in resources.get("limits", {}),
            "has a tag": ":" in container["image"] and not container["image"].endswith(":latest"),
        }
        if "ports" in container:
            probes = {"startupProbe", "readinessProbe", "livenessProbe"}
            wanted["is probed"] = probes <= container.keys()
    for secret in secrets(spec):
        wanted[f"has its secret {secret} in the README"] = f"`{secret}`" in README
    yield from (f"{who}: it must be true that it {rule}" for rule, holds in wanted.items() if not holds)


def of_deployment(deployment, objects):
    spec = deployment["spec"]["template"]["spec"]
    keys = {spread["topologyKey"] for spread in spec.get("topologySpreadConstraints", [])}
    if keys != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
        yield f"{name(deployment)} is not spread over zones and machines"
    own = deployment["metadata"]["name"]
    scaled = [o["spec"]["scaleTargetRef"]["name"] for o in objects if o["kind"] == "HorizontalPodAutoscaler"]
    if scaled.count(own) != 1:
        yield f"{name(deployment)} is scaled by {scaled.count(own)} autoscalers"
    budgets = [o for o in objects if o["kind"] == "PodDisruptionBudget"]
    if sum(fits(o["spec"]["selector"]["matchLabels"], deployment) for o in budgets) != 1:
        yield f"{name(deployment)} has not one disruption budget"


def secrets(spec):
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield volume["secret"]["secretName"]
        for source in volume.get("projected", {}).get("sources", []):
            yield source["secret"]["name"]


def fits(selector, run):
    return selector.items() <= run["spec"]["template"]["metadata"]["labels"].items()


def denies_all(policy):
    spec = policy["spec"]
    return spec["podSelector"] == {} and set(spec["policyTypes"]) == {"Ingress", "Egress"} and len(spec) == 2


def name(each):
    return f"{each['kind']} {each['metadata']['name']}"


found = list(breaches([o for o in yaml.safe_load_all(Path(sys.argv[1]).read_text()) if o]))
for breach in found:
    print(f"{sys.argv[1]}: {breach}", file=sys.stderr)
sys.exit(1 if found else 0)
