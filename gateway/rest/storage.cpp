#include "actors/pools.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/volume_view.hpp"

namespace troupe {
namespace {

using pool_record = message<schema::PoolSpec>;

std::string pool_json(const rest_request& from, const snapshot& records, const pool_record& pool) {
  std::string out = "{";
  pool.read([&](schema::PoolSpec::Reader p) {
    write_json_fields(out, p);
    out += R"(,"status":"Created","locations":["none"])";
    write_used_by(out, from.head->who, users_of_pool(records, view(p.getName())));
  });
  return out + "}";
}

void update(const rest_request& from, bool patch) {
  auto body = body_of<schema::PoolPut>(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::pools, "", update_pool{from.parameter(0), {*body, from.head}, from.etag(), patch});
}

std::optional<pool_record> find_pool(const rest_request& from) {
  auto pool = load<schema::PoolSpec>(from.with().db.read(), table::pools, from.parameter(0));
  if (!pool) reply_error(from, {fault::not_found, "Storage pool not found"});
  return pool;
}

// The root volumes are the instances' own records; the images' are the pool's.
void write_volume(std::string& out, schema::VolumeSpec::Reader volume, const std::vector<std::string>& used_by) {
  out += '{';
  write_json_fields(out, volume);
  write_string_list(out, "used_by", used_by);
  out += '}';
}

void list_volumes(const rest_request& from, const std::string& type) {
  if (!find_pool(from)) return;
  reply_from_blocking_thread(from, [from, type]() -> outcome<std::string> {
    auto filter = list_filter::parse(from.http->parameter("filter"));
    if (!filter) return tl::unexpected{filter.error()};
    auto records = from.with().db.read();
    json_list list;
    each_volume(
        records, from.parameter(0), from.head->project, type,
        [&](const message<schema::VolumeSpec>& volume, const std::string& user) {
          volume.read([&](schema::VolumeSpec::Reader v) {
            if (!from.sees("storage_volume", from.parameter(0) + '/' + text(v.getType()) + '/' + text(v.getName())))
              return;
            std::string shown;
            write_volume(shown, v, {user});
            if (!filter->matches(shown)) return;
            if (from.recursion() > 0)
              list.next() += shown;
            else
              list.url("/1.0/storage-pools/" + from.parameter(0) + "/volumes/",
                       text(v.getType()) + "/" + text(v.getName()));
          });
        });
    return std::move(list).take();
  });
}

std::optional<std::string> volume_json(const rest_request& from) {
  auto records = from.with().db.read();
  std::optional<std::string> found;
  each_volume(records, from.parameter(0), from.head->project, from.parameter(1),
              [&](const message<schema::VolumeSpec>& volume, const std::string& user) {
                volume.read([&](schema::VolumeSpec::Reader v) {
                  if (view(v.getName()) == from.parameter(2)) write_volume(found.emplace(), v, {user});
                });
              });
  return found;
}

template <class Work>
void with_driver(const rest_request& from, Work work) {
  ask<driver_ptr>(
      from, role::pools,
      [from, work](const outcome<driver_ptr>& driver) {
        if (!driver) return reply_error(from, driver.error());
        reply_from_blocking_thread(from, [driver = *driver, work] { return work(*driver); });
      },
      borrow_driver{from.parameter(0)});
}

} // namespace

void get_pools(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    json_list list;
    records.scan(table::pools, "", [&](std::string_view name, std::string_view bytes) {
      if (from.recursion() == 0)
        list.url("/1.0/storage-pools/", name);
      else
        list.next() += pool_json(from, records, pool_record::from_bytes(bytes));
      return true;
    });
    return std::move(list).take();
  });
}

void post_pools(const rest_request& from) {
  auto body = body_of<schema::PoolsPost>(from);
  if (!body) return reply_error(from, body.error());
  auto name = body->read([](auto post) { return text(post.getName()); });
  ask_sync(from, role::pools, "/1.0/storage-pools/" + name, envelope<schema::PoolsPost>{*body, from.head});
}

void get_pool(const rest_request& from) {
  if (auto pool = find_pool(from))
    reply_sync(from, pool_json(from, from.with().db.read(), *pool), etag_of(pool->bytes()));
}

void put_pool(const rest_request& from) { update(from, false); }
void patch_pool(const rest_request& from) { update(from, true); }
void delete_pool_(const rest_request& from) {
  ask_sync(from, role::pools, "", delete_pool{from.parameter(0), from.head});
}

void get_pool_resources(const rest_request& from) {
  with_driver(from, [](storage_driver& driver) -> outcome<std::string> {
    auto space = measure_pool(driver);
    if (!space) return tl::unexpected{space.error()};
    return to_json(*space);
  });
}

void get_volumes(const rest_request& from) { list_volumes(from, ""); }
void get_volumes_of_type(const rest_request& from) { list_volumes(from, from.parameter(1)); }

void get_volume(const rest_request& from) {
  if (!find_pool(from)) return;
  auto found = volume_json(from);
  if (found)
    reply_sync(from, *found, etag_of(*found));
  else
    reply_error(from, {fault::not_found, "Storage volume not found"});
}

void get_volume_state(const rest_request& from) {
  if (!find_pool(from)) return;
  if (!volume_json(from)) return reply_error(from, {fault::not_found, "Storage volume not found"});
  auto id = volume_of(from.head->project, from.parameter(1), from.parameter(2));
  with_driver(from, [id](storage_driver& driver) -> outcome<std::string> {
    auto used = measure_volume(driver, id);
    if (!used) return tl::unexpected{used.error()};
    return to_json(*used);
  });
}

} // namespace troupe
