//! The routes of these pages, under the issuer's prefix.

use super::{account, admin, assets, bans, erase, login, programs, provider, registrations, second};
use crate::Identity;
use crate::routes::{Require, Routes};

const DOOR: Require = Require::Public("how people sign in; what they show in the form is what counts");
const FILES: Require = Require::Public("style sheet and icon: the same for everybody");
const OWN: Require = Require::Public("the page looks for the browser's session and sends others to the sign-in page");
const ADMIN: Require =
    Require::Public("the page looks for the browser's session, and turns away who is no administrator");

/// Adds them.
pub(crate) fn people(routes: Routes<Identity>) -> Routes<Identity> {
    routes
        .get("/assets/{version}/{name}", FILES, assets::get)
        .get("/login", DOOR, login::show)
        .post("/login", DOOR, login::enter)
        .get("/login/code", DOOR, login::ask_code)
        .post("/login/code", DOOR, login::enter_code)
        .post("/login/with/{provider}", DOOR, provider::begin)
        .get("/login/callback/{provider}", DOOR, provider::callback)
        .post("/logout-session", OWN, login::leave)
        .get("/account", OWN, account::show)
        .post("/account/password", OWN, account::set_password)
        .post("/account/link", OWN, provider::begin_link)
        .post("/account/unlink", OWN, account::unlink)
        .post("/account/programs/end", OWN, programs::end)
        .post("/account/sessions/end", OWN, account::end_session)
        .post("/account/erase", OWN, erase::erase)
        .get("/account/second-factor", OWN, second::show)
        .post("/account/second-factor", OWN, second::offer)
        .post("/account/second-factor/confirm", OWN, second::confirm)
        .post("/account/second-factor/remove", OWN, second::remove)
        .get("/admin", ADMIN, admin::home)
        .get("/admin/users", ADMIN, admin::list)
        .post("/admin/users", ADMIN, admin::add)
        .get("/admin/users/{name}", ADMIN, admin::one)
        .post("/admin/users/{name}", ADMIN, admin::act)
        .get("/admin/registrations", ADMIN, registrations::list)
        .post("/admin/registrations/{id}", ADMIN, registrations::decide)
        .get("/admin/bans", ADMIN, bans::list)
        .post("/admin/bans", ADMIN, bans::add)
        .post("/admin/bans/{id}/lift", ADMIN, bans::lift)
}
