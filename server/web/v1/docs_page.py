"""The description of the API as a page for people: no script, and nothing from elsewhere."""

import json
import re
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem;border-bottom:1px solid #8884}code,pre{font:14px/1.4 ui-monospace,monospace}
section{margin:1.5rem 0}h3{margin:0}b{display:inline-block;min-width:4.5rem;color:#06c}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;
vertical-align:top}pre{background:#8881;padding:.6rem;overflow:auto}p{margin:.3rem 0}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}b{color:#6bf}a{color:#9cf}}
"""


def page(described: dict[str, Any]) -> str:
    """Show a description to people."""
    info = described["info"]
    by_tag: dict[str, list[str]] = {}
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            by_tag.setdefault(told["tags"][0], []).append(_section(method, path, told))
    groups = "".join(f"<h2>{escape(tag)}</h2>{''.join(each)}" for tag, each in by_tag.items())
    schemas = "".join(
        f'<section id="{escape(name)}"><h3>{escape(name)}</h3>'
        f"<pre>{escape(json.dumps(schema, indent=1))}</pre></section>"
        for name, schema in described["components"]["schemas"].items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(info["title"])}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(info['title'])}</h1>"
        f'<p>{escape(info["description"])} For programs: <a href="/openapi.json">openapi.json</a>.'
        f"</p>{groups}<h2>schemas</h2>{schemas}</body></html>"
    )


def _section(method: str, path: str, told: dict[str, Any]) -> str:
    rows = [
        _row(each["name"], f"in the {each['in']}. {each.get('description', '')}")
        for each in told["parameters"]
    ]
    for media, body in told.get("requestBody", {}).get("content", {}).items():
        rows.append(_row("body", f"{media} {_refs(body)}"))
    rows += [
        _row(status, f"{answer['description']} {_refs(answer)}")
        for status, answer in told["responses"].items()
    ]
    return (
        f"<section><h3><b>{method.upper()}</b> <code>{escape(path)}</code></h3>"
        f"<p>{escape(told['summary'])} {escape(told.get('description', ''))}</p>"
        f"<table>{''.join(rows)}</table></section>"
    )


def _row(name: str, text: str) -> str:
    linked = re.sub(r"#(\w+)#", r'<a href="#\1">\1</a>', escape(text))
    return f"<tr><th><code>{escape(name)}</code></th><td>{linked}</td></tr>"


def _refs(told: dict[str, Any]) -> str:
    names = re.findall(r"#/components/schemas/(\w+)", json.dumps(told))
    return " ".join(f"#{name}#" for name in dict.fromkeys(names))
