"""The bill of materials of the binaries, in CycloneDX 1.5: what Cargo links, the standard library, the C library."""

import json
import re
import subprocess
import time
import tomllib
import uuid


def bill(root, targets, std, made):
    """As text; `std` is the compiler's version, `made` seconds since 1970."""
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    found = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True).stdout)
    known = {(package["name"], package["version"]): package for package in found["packages"]}
    packages, uses, own = {}, {}, None
    for target in targets:
        above = []
        for depth, one in tree(root, target):
            packages[one] = known[one]
            uses.setdefault(one, set())
            above[depth:] = [one]
            if depth > 0:
                uses[above[depth - 1]].add(one)
            own = above[0]
    checksums = lock(root)
    others = [
        {"type": "library", "name": "rust-std", "version": std, "purl": f"pkg:generic/rust-std@{std}",
         "description": "Rust's standard library", "licenses": [{"expression": "MIT OR Apache-2.0"}]},
        {"type": "library", "name": "ziglang", "version": zig(root), "purl": f"pkg:pypi/ziglang@{zig(root)}",
         "description": "the C library musl, as zig brings it", "licenses": [{"expression": "MIT"}]},
    ]  # fmt: skip
    for other in others:
        other["bom-ref"] = other["purl"]
    libraries = [component(packages[one], "library", checksums) for one in packages if one != own]
    libraries = sorted([*libraries, *others], key=lambda one: one["purl"])
    depends = {purl(packages[one]): sorted(purl(packages[use]) for use in uses[one]) for one in packages}
    depends[purl(packages[own])] += sorted(other["purl"] for other in others)
    depends.update({other["purl"]: [] for other in others})
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made)),
            "component": component(packages[own], "application", checksums),
        },
        "components": libraries,
        "dependencies": [{"ref": ref, "dependsOn": depends[ref]} for ref in sorted(depends)],
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def tree(root, target):
    """What is linked for a target: not what only tests, build scripts or macros use. Depth, name and version."""
    command = ["cargo", "tree", "--locked", "--edges=normal,no-proc-macro", f"--target={target}",
               "--prefix=depth", "--no-dedupe", "--format= {p}"]  # fmt: skip
    for line in subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines():
        depth, name, version, *_ = line.split()
        yield int(depth), (name, version.removeprefix("v"))


def component(package, kind, checksums):
    out = {
        "type": kind,
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
        "bom-ref": purl(package),
        "licenses": [{"expression": package["license"].replace("/", " OR ")}],
    }
    if checksum := checksums.get((package["name"], package["version"])):
        out["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return out


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def lock(root):
    """The checksums of Cargo.lock."""
    found = tomllib.loads((root / "Cargo.lock").read_text())["package"]
    return {(one["name"], one["version"]): one["checksum"] for one in found if "checksum" in one}


def zig(root):
    """The version that the binaries are linked with."""
    return re.search(r"^ziglang==(.*)$", (root / "cross/requirements.txt").read_text(), re.M).group(1)
