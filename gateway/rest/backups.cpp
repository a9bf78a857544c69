#include "actors/instance_backup.hpp"
#include "gateway/backup_file.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

#include <sys/stat.h>

namespace troupe {
namespace {

using verb = change_backup::verb;

to_instance target(const rest_request& from) { return {from.head->project, from.parameter(0)}; }

std::string backup_json(const backup_record& backup) {
  std::string out;
  backup.read([&](auto b) { write_json(out, b); });
  return out;
}

std::optional<backup_record> find_backup(const rest_request& from) {
  auto found = load<schema::BackupSpec>(from.with().db.read(), backups_table,
                                        backup_key(from.head->project, from.parameter(0), from.parameter(1)));
  if (!found) reply_error(from, {fault::not_found, "Backup not found"});
  return found;
}

http_response file_response(unique_fd file, const std::string& name) {
  struct stat info {};
  auto size = fstat(file.get(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  http_response out;
  out.headers.emplace_back("Content-Type", "application/octet-stream");
  out.headers.emplace_back("Content-Disposition", "inline;filename=" + name);
  out.body.emplace_back(file_range{std::move(file), 0, size});
  return out;
}

} // namespace

void get_backups(const rest_request& from) {
  auto records = from.with().db.read();
  if (!records.get(table::instances, in_project(from.head->project, from.parameter(0))))
    return reply_error(from, {fault::not_found, "Instance not found"});
  json_list list;
  for (auto& each : backups_of(records, from.head->project, from.parameter(0)))
    if (from.recursion() == 0)
      list.url("/1.0/instances/" + from.parameter(0) + "/backups/",
               each.read([](auto b) { return text(b.getName()); }));
    else
      list.next() += backup_json(each);
  reply_sync(from, std::move(list).take());
}

void post_backups(const rest_request& from) {
  auto body = body_of<schema::BackupsPost>(from);
  if (!body) return reply_error(from, body.error());
  ask_async(from, role::instances, target(from), envelope<schema::BackupsPost>{*body, from.head});
}

void get_backup(const rest_request& from) {
  if (auto found = find_backup(from)) reply_sync(from, backup_json(*found), etag_of(found->bytes()));
}

void post_backup(const rest_request& from) {
  auto body = body_of<schema::BackupPost>(from);
  if (!body) return reply_error(from, body.error());
  auto name = body->read([](auto post) { return text(post.getName()); });
  ask_async(from, role::instances, target(from), change_backup{verb::rename, from.head, from.parameter(1), name});
}

void delete_backup(const rest_request& from) {
  ask_async(from, role::instances, target(from), change_backup{verb::remove, from.head, from.parameter(1), ""});
}

void export_backup(const rest_request& from) {
  auto found = find_backup(from);
  if (!found) return;
  bool taken = from.with().blocking.submit([from, backup = *found] {
    auto file = open_backup(from.with(), backup);
    if (!file) return reply_error(from, file.error());
    from.answer.send(file_response(std::move(*file), from.parameter(0) + "-" + from.parameter(1)));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

} // namespace troupe
