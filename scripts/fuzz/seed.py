"""Fills a fresh daemon with one of everything, so that a fuzzer meets more than 404s.

Usage: seed.py BASE_URL TOKEN. Prints the ids as JSON, by the names that the paths of the API document use.
"""

import json
import sys
import time
import urllib.error
import urllib.request

BASE, TOKEN = sys.argv[1:]


def call(method, path, body=None, raw=None, headers=None):
    data = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
    request = urllib.request.Request(BASE + path, data=data, method=method)
    request.add_header("Coder-Session-Token", TOKEN)
    for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as refusal:
        raise SystemExit(f"seed.py: {method} {path}: {refusal.code} {refusal.read().decode()}") from None


def settled(chat):
    for _ in range(200):
        if call("GET", f"/api/v2/chats/{chat}")["status"] in ("waiting", "error", "requires_action"):
            return
        time.sleep(0.05)
    raise SystemExit(f"seed.py: chat {chat} does not come to rest")


def create(text, **more):
    content = [{"type": "text", "text": text}]
    return call("POST", "/api/v2/chats", {"organization_id": organization, "content": content} | more)["id"]


me = call("GET", "/api/v2/users/me")
organization = call("GET", "/api/v2/users/me/organizations")[0]["id"]
chat = create("What can you do?", labels={"team": "fuzz"})
settled(chat)
user = call("POST", "/api/v2/users", {"username": "somebody", "email": "somebody@example.com", "password": "correct horse battery",
                                      "organization_ids": [organization]})
group = call("POST", f"/api/v2/organizations/{organization}/groups", {"name": "team"})
file = call("POST", f"/api/v2/chats/files?organization={organization}", raw=b"some text\n",
            headers={"Content-Type": "text/plain", "Content-Disposition": 'attachment; filename="a.txt"'})
provider = call("POST", "/api/v2/ai/providers", {"type": "openai-compat", "name": "extra", "display_name": "Extra",
                                                 "base_url": "http://127.0.0.1:9/v1", "api_keys": ["sk-nothing"]})
model = call("POST", "/api/experimental/chats/model-configs", {"provider": "openai-compat", "ai_provider_id": provider["id"], "model": "m",
                                                     "display_name": "M", "context_limit": 8000})
server = call("POST", "/api/experimental/mcp/servers", {"display_name": "Tools", "slug": "tools", "url": "http://127.0.0.1:9/mcp",
                                              "transport": "streamable_http", "auth_type": "none",
                                              "availability": "default_off", "enabled": True})
skill = "---\nname: notes\ndescription: Takes notes\n---\nWrite it down.\n"
call("POST", "/api/experimental/users/me/skills", {"name": "notes", "content": skill})
call("PUT", f"/api/v2/chats/usage-limits/overrides/{user['id']}", {"spend_limit_micros": 1000000})
messages = call("GET", f"/api/v2/chats/{chat}/messages")["messages"]
print(json.dumps({
    "chat": [chat], "organization": [organization, "default"], "user": ["me", me["id"], user["id"], "somebody"],
    "group": [group["id"]], "file": [file["id"]], "provider": [provider["id"]], "modelConfig": [model["id"]], "model": [model["id"]],
    "mcpServer": [server["id"]], "name": ["notes"], "message": [m["id"] for m in messages if m["role"] == "user"],
}))
