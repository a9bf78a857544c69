#include "actors/volumes.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/rest/with_driver.hpp"
#include "gateway/volume_view.hpp"

namespace troupe {
namespace {

bool has_pool(const rest_request& from) {
  if (from.with().db.read().get(table::pools, from.parameter(0))) return true;
  reply_error(from, {fault::not_found, "Storage pool not found"});
  return false;
}

void write_volume(std::string& out, const rest_request& from, schema::VolumeSpec::Reader volume,
                  const std::vector<std::string>& users) {
  out += '{';
  write_json_fields(out, volume);
  write_used_by(out, from.head->who, users);
  out += '}';
}

void list_volumes(const rest_request& from, const std::string& type) {
  if (!has_pool(from)) return;
  reply_from_blocking_thread(from, [from, type]() -> outcome<std::string> {
    auto filter = list_filter::parse(from.http->parameter("filter"));
    if (!filter) return tl::unexpected{filter.error()};
    auto records = from.with().db.read();
    json_list list;
    each_volume(records, from.parameter(0), from.head->project, type,
                [&](const volume_record& volume, const std::vector<std::string>& users) {
                  volume.read([&](schema::VolumeSpec::Reader v) {
                    auto name = text(v.getName());
                    auto slash = std::min(name.find('/'), name.size());
                    auto of = name.substr(0, slash); // whose snapshot it is, if it is one
                    if (!from.sees("storage_volume", from.parameter(0) + '/' + text(v.getType()) + '/' + of)) return;
                    std::string shown;
                    write_volume(shown, from, v, users);
                    if (!filter->matches(shown)) return;
                    if (from.recursion() > 0)
                      list.next() += shown;
                    else
                      list.url("/1.0/storage-pools/" + from.parameter(0) + "/volumes/",
                               text(v.getType()) + "/" + of +
                                   (slash < name.size() ? "/snapshots" + name.substr(slash) : ""));
                  });
                });
    return std::move(list).take();
  });
}

struct shown_volume {
  std::string json, etag;
};
std::optional<shown_volume> find_volume(const rest_request& from) {
  auto records = from.with().db.read();
  std::optional<shown_volume> found;
  each_volume(records, from.parameter(0), from.head->project, from.parameter(1),
              [&](const volume_record& volume, const std::vector<std::string>& users) {
                volume.read([&](schema::VolumeSpec::Reader v) {
                  if (view(v.getName()) != from.parameter(2)) return;
                  found.emplace().etag = etag_of(volume.bytes());
                  write_volume(found->json, from, v, users);
                });
              });
  return found;
}

// Volumes of other types are their instances' and images' own.
bool is_custom(const rest_request& from) {
  if (from.parameter(1) == "custom") return true;
  reply_error(from, {fault::invalid, "Only custom volumes can be made, changed and deleted"});
  return false;
}

void post(const rest_request& from) {
  if (from.http->header("Content-Type") == "application/octet-stream")
    return reply_error(from, {fault::unsupported, "Importing volumes is not supported yet"});
  auto body = body_of<schema::VolumesPost>(from);
  if (!body) return reply_error(from, body.error());
  create_volume request{from.parameter(0), {*body, from.head}};
  bool copies = body->read([](auto p) { return p.getSource().getName().size() > 0; });
  if (copies) return ask_async(from, role::pools, std::move(request));
  ask_sync(from, role::pools, "", std::move(request));
}

void update(const rest_request& from, bool patch) {
  if (!is_custom(from)) return;
  auto body = body_of<schema::VolumePut>(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::pools, "",
           update_volume{from.parameter(0), from.parameter(2), from.etag(), {*body, from.head}, patch});
}

} // namespace

void get_volumes(const rest_request& from) { list_volumes(from, ""); }
void get_volumes_of_type(const rest_request& from) { list_volumes(from, from.parameter(1)); }

void post_volumes(const rest_request& from) { post(from); }
void post_volumes_of_type(const rest_request& from) {
  if (is_custom(from)) post(from);
}

void get_volume(const rest_request& from) {
  if (!has_pool(from)) return;
  auto found = find_volume(from);
  if (found)
    reply_sync(from, found->json, found->etag);
  else
    reply_error(from, {fault::not_found, "Storage volume not found"});
}

void put_volume(const rest_request& from) { update(from, false); }
void patch_volume(const rest_request& from) { update(from, true); }

void post_volume(const rest_request& from) {
  if (!is_custom(from)) return;
  auto body = body_of<schema::VolumePost>(from);
  if (!body) return reply_error(from, body.error());
  move_volume request{from.parameter(0), from.parameter(2), {*body, from.head}};
  auto [pool, project, name] = body->read([](auto p) {
    return std::tuple{text(p.getPool()), text(p.getProject()), text(p.getName())};
  });
  if (!pool.empty() || !project.empty()) return ask_async(from, role::pools, std::move(request));
  ask_sync(from, role::pools, "/1.0/storage-pools/" + from.parameter(0) + "/volumes/custom/" + name,
           std::move(request));
}

void delete_volume_(const rest_request& from) {
  if (!is_custom(from)) return;
  ask_sync(from, role::pools, "", delete_volume{from.parameter(0), from.parameter(2), from.head});
}

void get_volume_state(const rest_request& from) {
  if (!has_pool(from)) return;
  if (!find_volume(from)) return reply_error(from, {fault::not_found, "Storage volume not found"});
  auto id = volume_of(from.with().db.read(), from.head->project, from.parameter(1), from.parameter(2));
  with_driver(from, [id](storage_driver& driver) -> outcome<std::string> {
    auto used = measure_volume(driver, id);
    if (!used) return tl::unexpected{used.error()};
    return to_json(*used);
  });
}

} // namespace troupe
