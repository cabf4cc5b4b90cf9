//! What a SCIM client asks first: what is supported, which kinds of resources there are, and what they look like.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::scim::{BASE, GROUP, GROUP_EXTENSION, LIST, MOST, ScimError, USER, answer};
use crate::Identity;
use crate::routes::{Require, Routes};

const OPEN: Require = Require::Public("it says what the protocol can do, and nothing about anybody");

pub(super) fn scim(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/ServiceProviderConfig", OPEN, config)
        .get("/ResourceTypes", OPEN, kinds)
        .get("/ResourceTypes/{id}", OPEN, kind)
        .get("/Schemas", OPEN, schemas)
        .get("/Schemas/{id}", OPEN, schema)
}

async fn config(State(identity): State<Identity>) -> Response {
    let no = json!({"supported": false});
    let body = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": MOST},
        "changePassword": no, "sort": no, "etag": no,
        "authenticationSchemes": [{
            "type": "oauthbearertoken", "name": "Bearer token", "description": "A token of the issuer, with scim:read or scim:write",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": identity.0.client.url_of(&format!("{BASE}/ServiceProviderConfig")),
        },
    });
    answer(StatusCode::OK, &body)
}

fn listed(resources: &[Value]) -> Response {
    let count = resources.len();
    let body = json!({
        "schemas": [LIST], "totalResults": count, "startIndex": 1, "itemsPerPage": count, "Resources": resources,
    });
    answer(StatusCode::OK, &body)
}

fn all_kinds(identity: &Identity) -> Vec<Value> {
    let kind = |name: &str, endpoint: &str, schema: &str| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name, "name": name, "endpoint": endpoint, "schema": schema,
            "meta": {
                "resourceType": "ResourceType",
                "location": identity.0.client.url_of(&format!("{BASE}/ResourceTypes/{name}")),
            },
        })
    };
    let mut group = kind("Group", "/Groups", GROUP);
    group["schemaExtensions"] = json!([{"schema": GROUP_EXTENSION, "required": false}]);
    vec![kind("User", "/Users", USER), group]
}

async fn kinds(State(identity): State<Identity>) -> Response {
    listed(&all_kinds(&identity))
}

fn with_id(resources: Vec<Value>, id: &str) -> Result<Response, ScimError> {
    match resources.iter().find(|resource| resource["id"] == id) {
        Some(found) => Ok(answer(StatusCode::OK, found)),
        None => Err(ScimError::not_found(format!("there is no {id}"))),
    }
}

async fn kind(State(identity): State<Identity>, Path(id): Path<String>) -> Result<Response, ScimError> {
    with_id(all_kinds(&identity), &id)
}

/// An attribute with one value: its name, its type, who may change it.
fn attribute(name: &str, kind: &str, mutability: &str) -> Value {
    json!({
        "name": name, "type": kind, "multiValued": false, "required": false, "caseExact": false, "mutability": mutability,
        "returned": "default", "uniqueness": "none", "description": name,
    })
}

fn complex(name: &str, many: bool, mutability: &str, subs: &[Value]) -> Value {
    let mut made = attribute(name, "complex", mutability);
    made["multiValued"] = many.into();
    made["subAttributes"] = subs.into();
    made
}

fn all_schemas(identity: &Identity) -> Vec<Value> {
    let reference = |mutability: &str, to: &str| {
        let mut made = attribute("$ref", "reference", mutability);
        made["referenceTypes"] = json!([to]);
        made
    };
    let (write, read) = ("readWrite", "readOnly");
    let mut user_name = attribute("userName", "string", "immutable");
    user_name["required"] = true.into();
    user_name["uniqueness"] = "server".into();
    let user = [
        user_name,
        complex(
            "name",
            false,
            write,
            &[
                attribute("formatted", "string", read),
                attribute("familyName", "string", write),
                attribute("givenName", "string", write),
            ],
        ),
        attribute("displayName", "string", write),
        attribute("active", "boolean", write),
        complex(
            "emails",
            true,
            write,
            &[
                attribute("value", "string", write),
                attribute("type", "string", write),
                attribute("primary", "boolean", write),
            ],
        ),
        complex(
            "groups",
            true,
            read,
            &[
                attribute("value", "string", read),
                reference(read, "Group"),
                attribute("display", "string", read),
                attribute("type", "string", read),
            ],
        ),
    ];
    let mut group_name = attribute("displayName", "string", "immutable");
    group_name["required"] = true.into();
    let group = [
        group_name,
        complex(
            "members",
            true,
            write,
            &[
                attribute("value", "string", "immutable"),
                reference("immutable", "User"),
                attribute("type", "string", "immutable"),
                attribute("display", "string", read),
            ],
        ),
    ];
    let schema = |id: &str, name: &str, attributes: &[Value]| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": id, "name": name, "description": name, "attributes": attributes,
            "meta": {
                "resourceType": "Schema", "location": identity.0.client.url_of(&format!("{BASE}/Schemas/{id}")),
            },
        })
    };
    let above = [
        attribute("value", "string", "immutable"),
        attribute("display", "string", read),
        reference("immutable", "Group"),
    ];
    let extension = [attribute("description", "string", write), complex("parentGroup", false, "immutable", &above)];
    vec![
        schema(USER, "User", &user),
        schema(GROUP, "Group", &group),
        schema(GROUP_EXTENSION, "IndigoGroup", &extension),
    ]
}

async fn schemas(State(identity): State<Identity>) -> Response {
    listed(&all_schemas(&identity))
}

async fn schema(State(identity): State<Identity>, Path(id): Path<String>) -> Result<Response, ScimError> {
    with_id(all_schemas(&identity), &id)
}
