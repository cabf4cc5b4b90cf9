"""Authlib as a relying party (code flow with PKCE, ID token, refresh, userinfo, logout) and flaat as a resource server.

The person's part is played by requests with the session cookie in DTE_COOKIE.
"""

import html
import os
import re
import secrets
import sys

import flaat
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken

issuer = sys.argv[1]
name, _, value = os.environ["DTE_COOKIE"].partition("=")
browser = requests.Session()
browser.headers["Cookie"] = f"{name}={value}"
callback = "http://127.0.0.1:5000/auth"


def check(name, good, detail=""):
    print("ok" if good else "FAILED:", name, "" if good else detail)


def hidden(page, name):
    return html.unescape(re.search(rf'name="{name}" value="([^"]*)"', page).group(1))


metadata = requests.get(issuer + "/.well-known/openid-configuration").json()
registered = requests.post(
    metadata["registration_endpoint"],
    json={"client_name": "dashboard", "redirect_uris": [callback], "post_logout_redirect_uris": ["http://127.0.0.1:5000/"]},
).json()
session = OAuth2Session(
    registered["client_id"],
    registered["client_secret"],
    scope="openid profile groups offline_access wlcg",
    redirect_uri=callback,
    code_challenge_method="S256",
)
verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce)
page = browser.get(url, allow_redirects=False).text
check("the consent page names the client", "dashboard" in page and "wlcg" in page)
answer = browser.post(
    issuer + "/consent",
    data={"csrf": hidden(page, "csrf"), "request": hidden(page, "request"), "decision": "allow"},
    allow_redirects=False,
)
place = answer.headers.get("location", "")
check("back at the client", place.startswith(callback) and "iss=" in place, answer.text)
token = session.fetch_token(metadata["token_endpoint"], authorization_response=place, state=state, code_verifier=verifier)
check("tokens", {"access_token", "id_token", "refresh_token"} <= set(token), token)

keys = requests.get(metadata["jwks_uri"]).json()
try:
    from joserfc import jwt
    from joserfc.jwk import KeySet

    claims = CodeIDToken(
        jwt.decode(token["id_token"], KeySet.import_key_set(keys)).claims,
        {},
        options={"iss": {"value": issuer}, "aud": {"value": registered["client_id"]}, "nonce": {"value": nonce}},
        params={"nonce": nonce, "client_id": registered["client_id"], "access_token": token["access_token"]},
    )
    claims.header = {"alg": "ES256"}
    claims.validate()
    check("the ID token, with nonce and at_hash", claims["sub"] == "admin", claims)
except Exception as error:  # told as a failure
    check("the ID token, with nonce and at_hash", False, repr(error))
info = session.get(metadata["userinfo_endpoint"]).json()
check("userinfo", info["sub"] == "admin" and info["preferred_username"] == "admin" and isinstance(info["groups"], list), info)
again = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
check("refresh", again["access_token"] != token["access_token"], again)
seen = session.introspect_token(metadata["introspection_endpoint"], token=again["access_token"]).json()
check("introspection", seen["active"] is True and seen["sub"] == "admin", seen)

reader = flaat.BaseFlaat()
reader.set_trusted_OP_list([issuer])
who = reader.get_user_infos_from_access_token(again["access_token"])
check("flaat knows the person", who is not None and who.subject == "admin" and who.issuer == issuer, who)
check("flaat has verified the token", who.access_token_info is not None and who.access_token_info.verification is not None, who)
check("flaat has userinfo", who.user_info.get("sub") == "admin", who)
try:
    nobody = reader.get_user_infos_from_access_token(again["access_token"][:-8] + "AAAAAAAA")
    check("flaat refuses a changed token", nobody is None or not nobody.user_info, nobody)
except Exception:  # which error it is is flaat's business
    check("flaat refuses a changed token", True)

session.revoke_token(metadata["revocation_endpoint"], token=again["refresh_token"])
gone = requests.get(metadata["userinfo_endpoint"], headers={"Authorization": "Bearer " + again["access_token"]})
check("revoking the grant ends its tokens", gone.status_code == 401, gone.text)

one = OAuth2Session(registered["client_id"], registered["client_secret"])
first = one.post(metadata["token_endpoint"], withhold_token=True, data={"grant_type": "authorization_code", "code": "made-up", "redirect_uri": callback})
check("a made-up code", first.status_code in (400, 401), first.text)
out = browser.get(
    metadata["end_session_endpoint"],
    params={"id_token_hint": token["id_token"], "post_logout_redirect_uri": "http://127.0.0.1:5000/", "state": "s"},
    allow_redirects=False,
)
check("signing out goes back to the client", out.headers.get("location") == "http://127.0.0.1:5000/?state=s", out.text)
print("end")
