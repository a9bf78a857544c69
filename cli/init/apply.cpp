#include "cli/http_client.hpp"
#include "cli/init/preseed.hpp"
#include "cli/server.hpp"

#include <nlohmann/json.hpp>
#include <vector>

namespace troupe {

using nlohmann::json;

namespace {

/// One kind of object in a set-up, in the order they depend on each other.
struct kind {
  const char* section;
  const char* noun;
  const char* path;
  const char* fixed;    // what cannot be changed after creation; may be null
  const char* fallback; // of `fixed`
};

constexpr kind kinds[] = {
    {"networks", "network", "/1.0/networks", "type", "bridge"},
    {"storage_pools", "storage pool", "/1.0/storage-pools", "driver", nullptr},
    {"projects", "project", "/1.0/projects", nullptr, nullptr},
    {"profiles", "profile", "/1.0/profiles", nullptr, nullptr},
};

constexpr const char* writable[] = {"description", "config", "devices"};

json writable_part(const json& object) {
  json out = json::object();
  for (const char* key : writable)
    if (auto at = object.find(key); at != object.end() && !at->is_null()) out[key] = *at;
  return out;
}

/// An empty text: in a map that is merged it takes a key away.
bool is_blank(const json& value) { return value.is_string() && value.get_ref<const std::string&>().empty(); }

void merge_map(json& into, const json& wanted) {
  if (!into.is_object()) into = json::object();
  for (auto& [key, value] : wanted.items()) {
    auto present = into.find(key);
    if (present == into.end()) {
      if (!is_blank(value)) into[key] = value;
      continue;
    }
    bool chosen = value == "auto" && !is_blank(*present) && *present != "none";
    if (value.is_object())
      merge_map(*present, value);
    else if (is_blank(value))
      into.erase(key);
    else if (!chosen)
      *present = value;
  }
}

class applier {
public:
  applier(const server& daemon, const std::function<void(const std::string&)>& say) : daemon_{daemon}, say_{say} {}

  ~applier() {
    for (auto made = created_.rbegin(); made != created_.rend(); ++made) (void)daemon_.change("DELETE", *made, nullptr);
  }
  applier(const applier&) = delete;
  applier& operator=(const applier&) = delete;

  void keep() { created_.clear(); }

  outcome<void> config(const json& wanted) {
    if (wanted.empty()) return {};
    auto present = daemon_.get("/1.0");
    if (!present) return tl::unexpected{present.error()};
    auto before = present->value("config", json::object());
    auto after = before;
    merge_map(after, wanted);
    if (after == before) return {};
    return tell(daemon_.change("PATCH", "/1.0", {{"config", wanted}}), "Updated the server's configuration");
  }

  outcome<void> object(const kind& of, json wanted) {
    const auto name = wanted.value("name", "");
    const auto path = std::string{of.path} + "/" + url_encode(name);
    const auto title = std::string{of.noun} + " " + name;
    wanted.erase("project"); // checked to be the default one
    if (of.fallback && wanted.value(of.fixed, "").empty()) wanted[of.fixed] = of.fallback;
    auto present = daemon_.get(path);
    if (!present && present.error().code != fault::not_found) return tl::unexpected{present.error()};
    if (!present) {
      auto made = daemon_.change("POST", of.path, wanted);
      if (made) created_.push_back(path);
      return tell(made, "Created " + title);
    }
    if (of.fixed && wanted.contains(of.fixed) && !is_blank(wanted[of.fixed]) &&
        wanted[of.fixed] != present->value(of.fixed, ""))
      return fail(fault::invalid, "The " + title + " exists with " + of.fixed + " " + present->value(of.fixed, "") +
                                      ", not " + wanted[of.fixed].get<std::string>());
    auto before = writable_part(*present), after = merged_object(*present, wanted);
    if (after == before) return {};
    return tell(daemon_.change("PUT", path, after), "Updated " + title);
  }

private:
  outcome<void> tell(const outcome<json>& done, const std::string& what) {
    if (!done) return tl::unexpected{done.error()};
    say_(what);
    return {};
  }

  const server& daemon_;
  const std::function<void(const std::string&)>& say_;
  std::vector<std::string> created_;
};

} // namespace

json merged_object(const json& present, const json& wanted) {
  auto out = writable_part(present);
  auto over = writable_part(wanted);
  // A pool's source is where it lies now, which may be said otherwise than it was asked for.
  if (auto config = over.find("config");
      config != over.end() && out.contains("config") && out["config"].contains("source"))
    if (config->value("source", "") == out["config"].value("volatile.initial_source", "")) config->erase("source");
  for (auto& [key, value] : over.items()) {
    if (value.is_object())
      merge_map(out[key], value);
    else if (!is_blank(value))
      out[key] = value;
  }
  return out;
}

outcome<void> apply_setup(const server& daemon, const json& setup, const std::function<void(const std::string&)>& say) {
  applier work{daemon, say};
  if (auto done = work.config(setup.value("config", json::object())); !done) return done;
  for (auto& of : kinds)
    for (auto& wanted : setup.value(of.section, json::array()))
      if (auto done = work.object(of, wanted); !done) return done;
  work.keep();
  return {};
}

outcome<json> dump_setup(const server& daemon) {
  auto facts = daemon.get("/1.0");
  if (!facts) return facts;
  json out = {{"config", facts->value("config", json::object())}};
  for (auto& of : kinds) {
    auto present = daemon.get(std::string{of.path} + "?recursion=1");
    if (!present) return present;
    json list = json::array();
    for (auto& object : *present) {
      if (object.contains("managed") && object["managed"] == false) continue; // somebody else's interface
      auto entry = writable_part(object);
      entry["name"] = object.value("name", "");
      if (of.fixed) entry[of.fixed] = object.value(of.fixed, "");
      if (entry.contains("config"))
        for (auto at = entry["config"].begin(); at != entry["config"].end();)
          at = at.key().starts_with("volatile.") ? entry["config"].erase(at) : std::next(at);
      list.push_back(std::move(entry));
    }
    out[of.section] = std::move(list);
  }
  return out;
}

} // namespace troupe
