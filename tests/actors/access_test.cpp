#include "actors/access_change.hpp"
#include "actors/certificate_change.hpp"
#include "actors/entities.hpp"
#include "actors/permission_upkeep.hpp"
#include "actors/rights_cache.hpp"
#include "tests/actors/fakes.hpp"

#include <algorithm>

using namespace troupe;

namespace {

using names = std::vector<std::string>;

constexpr auto some_certificate =
    "MIIBcjCCARegAwIBAgIUWEcsgx4P4FTglTvbxbEbtxH5QsgwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCbWUwIBcNMjYxMTIzMDc0"
    "MjE0WhgPMjEyNjEwMzAwNzQyMTRaMA0xCzAJBgNVBAMMAm1lMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXoHqe1EmYiaOhXDP"
    "qMeJwPiLd81iFHRzpBRbV21oNdLf/L/cSk9E+wZozrWL9y1/t8FbRSru/e+Io9t97U6bAqNTMFEwHQYDVR0OBBYEFIqRPqOJOFYc"
    "Y16MzfUV/bhIDkSHMB8GA1UdIwQYMBaAFIqRPqOJOFYcY16MzfUV/bhIDkSHMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID"
    "SQAwRgIhAKLbiqQ9khrdSAHp5B2vVn6YrrqtkCqxwSM8/WJpd8v1AiEAgvyK5BIoo+XIDvBhFfTvOfyKb+5Rqpg3Jjr6MGfZ98A=";

/// Records of who may do what, and of what there is.
struct realm {
  folder disk;
  std::unique_ptr<store> db = open_db(disk.path);

  void commit(batch what) { REQUIRE(std::move(db->commit({&what, 1}).front())); }
  void write(troupe::write one) { commit({{}, {std::move(one)}, {}}); }
  void project(const std::string& name) {
    write(put(table::projects, name, message<schema::ProjectSpec>::make([&](auto p) { p.setName(name); })));
  }
  void instance(const std::string& project, const std::string& name, const std::string& pool) {
    write(put(table::instances, in_project(project, name),
              message<schema::InstanceSpec>::make([&](schema::InstanceSpec::Builder i) {
                i.setProject(project);
                i.setName(name);
                i.setPool(pool);
              })));
  }
  void certificate(const std::string& name, const std::string& type, bool restricted, const names& projects) {
    write(put(table::certificates, name, certificate_record::make([&](schema::Certificate::Builder c) {
                c.setName(name);
                c.setType(type);
                c.setFingerprint(name);
                c.setRestricted(restricted);
                fill(c.initProjects(static_cast<unsigned>(projects.size())), projects);
              })));
  }
  void group(const std::string& name, const std::vector<permission>& given) {
    write(put(table::auth_groups, name, group_record::make([&](schema::AuthGroup::Builder g) {
                g.setName(name);
                auto list = g.initPermissions(static_cast<unsigned>(given.size()));
                for (unsigned i = 0; i < list.size(); ++i) {
                  list[i].setEntityType(given[i].on.type);
                  list[i].setUrl(url_of(given[i].on));
                  list[i].setEntitlement(given[i].entitlement);
                }
              })));
  }

  names projects_of(const std::string& certificate) const {
    return load<schema::Certificate>(db->read(), table::certificates, certificate)->read([](auto c) {
      return to_vector(c.getProjects());
    });
  }
  names urls_of(const std::string& group) const {
    names out;
    auto given = rights_of(db->read(), {group});
    for (auto& one : given.all()) out.push_back(url_of(one.on));
    return out;
  }
};

/// "KIND/NAME" of the events that say that somebody may do less now.
names narrowed_in(const batch& what) {
  names out;
  for (auto& event : what.events)
    event.read([&](schema::Event::Reader e) {
      if (get(to_map(e.getContext()), narrowed_mark) == "true")
        out.push_back(text(e.getKind()) + '/' + text(e.getEntity()));
    });
  std::sort(out.begin(), out.end());
  return out;
}

batch removal(table where, const std::string& key) { return {{}, {erase(where, key)}, {}}; }

entity volume(std::string project, std::string name) { return {"storage_volume", std::move(project), std::move(name)}; }

} // namespace

TEST_CASE("a project that goes takes its name out of certificates and groups, and tells whom that concerns") {
  realm r;
  for (auto name : {"p", "q"}) r.project(name);
  r.certificate("tenant", "client", true, {"p", "q"});
  r.certificate("other", "client", true, {"q"});
  r.group("g", {{the_project("p"), "viewer"}, {the_project("q"), "viewer"}, {volume("p", "pool/image/f"), "can_view"}});
  auto gone = removal(table::projects, "p");
  REQUIRE(needs_upkeep(*r.db, gone));
  auto all = with_upkeep(r.db->read(), gone);
  CHECK(narrowed_in(all) == names{"auth-group/g", "certificate/tenant"});
  r.commit(all);
  CHECK(r.projects_of("tenant") == names{"q"});
  CHECK(r.projects_of("other") == names{"q"});
  CHECK(r.urls_of("g") == names{"/1.0/projects/q"});
}

TEST_CASE("what is named by a project follows its new name") {
  realm r;
  r.project("p");
  r.certificate("tenant", "client", true, {"p"});
  r.group("g", {{the_project("p"), "viewer"}, {volume("p", "pool/container/c"), "can_view"}});
  auto renamed = removal(table::projects, "p");
  renamed.writes.push_back(
      put(table::projects, "q", message<schema::ProjectSpec>::make([](auto p) { p.setName("q"); })));
  auto all = with_upkeep(r.db->read(), renamed);
  CHECK(narrowed_in(all) == names{"auth-group/g", "certificate/tenant"}); // streams of the old name must not go on
  r.commit(all);
  CHECK(r.projects_of("tenant") == names{"q"});
  CHECK(r.urls_of("g") == names{"/1.0/projects/q", "/1.0/storage-pools/pool/volumes/container/c?project=q"});
}

TEST_CASE("rights on a volume go with what it is of, and follow that") {
  realm r;
  auto given = [&](const names& volumes) {
    std::vector<permission> out;
    for (auto& name : volumes) out.push_back({volume("default", name), "can_view"});
    r.group("g", out);
  };
  auto after = [&](const batch& what) {
    r.commit(with_upkeep(r.db->read(), what));
    names out;
    auto left = rights_of(r.db->read(), {"g"});
    for (auto& one : left.all()) out.push_back(one.on.name);
    return out;
  };
  r.instance("default", "c", "pool");
  given({"pool/container/c", "pool/container/d", "pool/image/c"});
  CHECK(after(removal(table::instances, "default/c")) == names{"pool/container/d", "pool/image/c"});

  given({"pool/container/c", "pool/image/c"});
  auto renamed = removal(table::instances, "default/c");
  renamed.writes.push_back(
      put(table::instances, "default/e", message<schema::InstanceSpec>::make([](auto i) { i.setName("e"); })));
  CHECK(after(renamed) == names{"pool/container/e", "pool/image/c"});

  given({"pool/container/c", "pool/image/f"});
  CHECK(after(removal(table::images, "default/f")) == names{"pool/container/c"});

  given({"pool/container/c", "pool2/container/c"});
  CHECK(after(removal(table::pools, "pool")) == names{"pool2/container/c"});
}

TEST_CASE("only volumes that there are can be given rights on") {
  realm r;
  r.project("default");
  r.instance("default", "c", "pool");
  r.write({table::volumes, "pool/image/f", "x"});
  auto there = [&](const std::string& project, const std::string& name) {
    return exists(r.db->read(), volume(project, name));
  };
  CHECK(there("default", "pool/container/c"));
  CHECK_FALSE(there("default", "pool2/container/c"));
  CHECK_FALSE(there("p", "pool/container/c"));
  CHECK_FALSE(there("default", "pool/container/d"));
  CHECK_FALSE(there("default", "pool/custom/c"));
  CHECK_FALSE(there("default", "pool/image/f")); // in the pool, but nobody's
  r.write({table::images, "default/f", "x"});
  CHECK(there("default", "pool/image/f"));
}

TEST_CASE("only what narrows a certificate says so") {
  struct change {
    std::string type;
    bool restricted;
    names projects;
    bool narrows;
  };
  auto to = GENERATE(values<change>({
      {"client", true, {"p", "q"}, false},
      {"client", true, {"q", "p", "r"}, false},
      {"client", false, {}, false},
      {"client", true, {"p"}, true},
      {"client", true, {}, true},
      {"metrics", true, {"p", "q"}, true},
  }));
  CAPTURE(to.type, to.restricted, to.projects);
  realm r;
  for (auto name : {"p", "q", "r"}) r.project(name);
  auto parsed = decode_certificate(some_certificate);
  REQUIRE(parsed);
  r.certificate(parsed->fingerprint, "client", true, {"p", "q"});
  change_certificate request;
  request.what = change_certificate::verb::update;
  request.head = std::make_shared<header>();
  request.fingerprint = parsed->fingerprint;
  request.body = message<schema::CertificatePut>::make([&](schema::CertificatePut::Builder put) {
    put.setName("me");
    put.setType(to.type);
    put.setRestricted(to.restricted);
    fill(put.initProjects(static_cast<unsigned>(to.projects.size())), to.projects);
    put.setCertificate(to_pem(*parsed));
  });
  auto plan = plan_certificate(r.db->read(), request);
  REQUIRE(plan);
  CHECK(narrowed_in((*plan)->commit).empty() != to.narrows);
}

TEST_CASE("what groups give is worked out once for as long as their records stay") {
  realm r;
  rights_cache cache;
  r.group("a", {{the_project("p"), "viewer"}});
  r.group("b", {{the_project("q"), "viewer"}});
  auto first = cache.of(r.db->read(), {"a", "b"});
  CHECK(first->all().size() == 2);
  CHECK(cache.of(r.db->read(), {"a", "b"}) == first);
  CHECK(cache.of(r.db->read(), {"a"})->all().size() == 1);
  r.group("b", {});
  CHECK(cache.of(r.db->read(), {"a", "b"})->all().size() == 1);
  r.write(erase(table::auth_groups, "a"));
  CHECK(cache.of(r.db->read(), {"a", "b"})->all().empty());
}

TEST_CASE("who is put into a group is not, if the group is another by then") {
  realm r;
  r.group("g", {});
  change_identity identity;
  identity.head = std::make_shared<header>();
  identity.record = identity_record::make([](schema::Identity::Builder i) {
    i.setAuthenticationMethod("tls");
    i.setType(std::string{pending_type});
    i.setId("x");
    i.setName("x");
    fill(i.initGroups(1), names{"g"});
  });
  change_provider_group mapping;
  mapping.head = identity.head;
  mapping.name = "staff";
  mapping.body = message<schema::IdentityProviderGroupPut>::make([](auto put) { fill(put.initGroups(1), names{"g"}); });
  auto plans = {plan_identity(r.db->read(), identity), plan_provider_group(r.db->read(), mapping)};
  r.write(erase(table::auth_groups, "g"));
  r.group("g", {{the_server(), "admin"}});
  for (auto& plan : plans) {
    REQUIRE(plan);
    auto done = std::move(r.db->commit({&(*plan)->commit, 1}).front());
    REQUIRE_FALSE(done);
    CHECK(done.error().code == fault::precondition);
  }
}

TEST_CASE("a certificate is not given a project that is another by then") {
  realm r;
  r.project("p");
  auto parsed = decode_certificate(some_certificate);
  r.certificate(parsed->fingerprint, "client", true, {});
  change_certificate request;
  request.what = change_certificate::verb::update;
  request.head = std::make_shared<header>();
  request.fingerprint = parsed->fingerprint;
  request.body = message<schema::CertificatePut>::make([&](auto put) {
    put.setType("client");
    put.setRestricted(true);
    fill(put.initProjects(1), names{"p"});
    put.setCertificate(to_pem(*parsed));
  });
  auto plan = plan_certificate(r.db->read(), request);
  REQUIRE(plan);
  r.write(erase(table::projects, "p"));
  CHECK_FALSE(r.db->commit({&(*plan)->commit, 1}).front());
}

TEST_CASE("the token of a pending identity is found by itself, and only as that") {
  realm r;
  const std::string secret(64, 'a'), id = pending_id(secret);
  CHECK(id.size() == 36);
  CHECK(id != pending_id(std::string(64, 'b')));
  auto pending = [&](const std::string& of, std::string_view type) {
    r.write(put(table::identities, identity_key("tls", id), identity_record::make([&](schema::Identity::Builder i) {
                  i.setAuthenticationMethod("tls");
                  i.setType(std::string{type});
                  i.setId(id);
                  i.setTokenHash(etag_of(of));
                })));
    return is_token_of_identity(r.db->read(), secret);
  };
  CHECK_FALSE(is_token_of_identity(r.db->read(), secret));
  CHECK(pending(secret, pending_type));
  CHECK_FALSE(pending(secret, tls_type));
  CHECK_FALSE(pending("another", pending_type)); // the whole hash counts
}
