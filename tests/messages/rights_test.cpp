#include "messages/rights.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace troupe;

namespace {

entity instance(std::string project, std::string name) { return {"instance", std::move(project), std::move(name)}; }

principal with(std::vector<permission> given) {
  principal out{"alice@example.org", "oidc", "127.0.0.1:1", ~0u, trust::granted};
  out.given = std::make_shared<const rights>(std::move(given));
  return out;
}

} // namespace

TEST_CASE("the table of entitlements names only what is in it, and what it includes ends") {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (auto& row : entitlements()) {
    CAPTURE(row.type, row.name);
    CHECK(find_entity_type(row.type));
    CHECK(seen.emplace(row.type, row.name).second);
    auto above = row.type == "project" || !find_entity_type(row.type)->in_project ? "server" : "project";
    for (auto [words, type] : {std::pair{row.same, row.type}, {row.above, std::string_view{above}}})
      for (size_t at = 0; at < words.size();) {
        auto end = std::min(words.find(' ', at), words.size());
        CHECK(find_entitlement(type, words.substr(at, end - at)));
        at = end + 1;
      }
    CHECK_FALSE(rights{{}}.allow(row.name, {std::string{row.type}, "p", "x"})); // and does not go on for ever
    CHECK(rights{{{the_server(), "admin"}}}.allow(row.name, {std::string{row.type}, "p", "x"}));
  }
}

TEST_CASE("a right on an instance is one on no other") {
  auto who = with({{instance("p", "c1"), "can_exec"}});
  CHECK(who.may("can_exec", instance("p", "c1")));
  CHECK(who.may("can_view", instance("p", "c1"))); // who may use it may see it
  CHECK_FALSE(who.may("can_edit", instance("p", "c1")));
  CHECK_FALSE(who.may("can_update_state", instance("p", "c1")));
  CHECK_FALSE(who.may("can_exec", instance("p", "c2")));
  CHECK_FALSE(who.may("can_exec", instance("q", "c1")));
  CHECK_FALSE(who.may_see("p"));
  CHECK(who.knows("p"));
  CHECK_FALSE(who.knows("q"));
  CHECK_FALSE(who.knows("default"));
}

TEST_CASE("rights on a project are rights on what is in it") {
  auto viewer = with({{the_project("p"), "viewer"}}), op = with({{the_project("p"), "operator"}}),
       manager = with({{the_project("p"), "instance_manager"}});
  CHECK(viewer.may_see("p"));
  CHECK(viewer.may("can_view", instance("p", "x")));
  CHECK_FALSE(viewer.may("can_exec", instance("p", "x")));
  CHECK(op.may("can_exec", instance("p", "x")));
  CHECK(op.may("can_create_images", the_project("p")));
  CHECK_FALSE(op.may("can_edit", the_project("p")));
  CHECK_FALSE(op.may_see("q"));
  CHECK(manager.may("can_delete", instance("p", "x")));
  CHECK_FALSE(manager.may("can_view", {"image", "p", "x"}));
  auto everywhere = with({{the_server(), "project_manager"}});
  CHECK(everywhere.may("can_exec", instance("q", "x")));
  CHECK_FALSE(everywhere.may("can_edit", the_server()));
  CHECK_FALSE(everywhere.may("can_edit", {"group", {}, "g"}));
}

TEST_CASE("who has no rights has none, whatever else the principal says") {
  principal none{"x", "tls", "", ~0u, trust::none}, restricted{"x", "tls", "", ~0u, trust::restricted, {"p"}};
  CHECK_FALSE(none.may("can_view", instance("p", "x")));
  CHECK(restricted.may("can_exec", instance("p", "x")));
  CHECK_FALSE(restricted.may("can_view_groups", the_server()));
  CHECK_FALSE(restricted.may("can_view", {"group", {}, "g"}));
}

TEST_CASE("things and their URLs") {
  for (auto& thing : std::vector<entity>{the_server(),
                                         the_project("p"),
                                         instance("default", "c1"),
                                         {"image_alias", "p", "debian/12 x"},
                                         {"storage_volume", "p", "pool/custom/v"},
                                         {"identity", {}, "oidc/alice@example.org"},
                                         {"group", {}, "a b?c&d%"}}) {
    CAPTURE(url_of(thing));
    CHECK(entity_of(thing.type, url_of(thing)) == thing);
    CHECK(entity_of({}, url_of(thing)) == thing);
  }
  CHECK(url_of(instance("default", "c1")) == "/1.0/instances/c1?project=default");
  CHECK(entity_of("instance", "/1.0/instances/c1") == instance("default", "c1"));
  CHECK(entity_of("instance", "/1.0/instances/c1?x=y&project=p") == instance("p", "c1"));
  for (auto bad : {"", "/", "/1.0/instances", "/1.0/instances/a/b", "/1.0/instances/%00", "/1.0/instances/%4",
                   "1.0/instances/a", "/1.0/profiles/a", "/1.0/instances/%zz"}) {
    CAPTURE(bad);
    CHECK_FALSE(entity_of("instance", bad));
  }
  CHECK_FALSE(entity_of("nothing", "/1.0/instances/a"));
}

TEST_CASE("rights are compared by what they give") {
  rights op{{{the_project("p"), "operator"}}}, view{{{the_project("p"), "can_view"}, {instance("p", "a"), "can_exec"}}};
  CHECK(op.cover(view));
  CHECK_FALSE(view.cover(op));
  CHECK(op.cover(rights{{}}));
  CHECK(op == rights{{{the_project("p"), "operator"}, {the_project("p"), "operator"}}});
}
