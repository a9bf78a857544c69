#include "actors/image_publish.hpp"
#include "gateway/image_export.hpp"
#include "gateway/rest/all_projects.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/query_text.hpp"
#include "gateway/rest/routes.hpp"
#include "messages/time.hpp"

#include <algorithm>
#include <fcntl.h>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

using alias_record = message<schema::ImageAliasEntry>;
using image_record = message<schema::ImageSpec>;

std::string alias_json(const alias_record& alias) {
  std::string out;
  alias.read([&](auto a) { write_json(out, a); });
  return out;
}

using alias_index = std::multimap<std::string, std::pair<std::string, std::string>>; // fingerprint -> name, description

alias_index all_aliases(const snapshot& records, const std::string& project) {
  alias_index out;
  records.scan(table::aliases, project + "/", [&](std::string_view, std::string_view bytes) {
    alias_record::from_bytes(bytes).read([&](schema::ImageAliasEntry::Reader a) {
      out.emplace(text(a.getTarget()), std::pair{text(a.getName()), text(a.getDescription())});
    });
    return true;
  });
  return out;
}

std::string image_json(const image_record& image, const std::string& project, const alias_index& aliases) {
  std::string out = "{";
  image.read([&](schema::ImageSpec::Reader i) {
    write_json_fields(out, i);
    write_json_name(out, "project");
    write_json_string(out, project);
    write_json_name(out, "aliases");
    out += '[';
    auto [at, end] = aliases.equal_range(text(i.getFingerprint()));
    for (auto first = at; at != end; ++at) {
      out += at == first ? "{" : ",{";
      write_json_name(out, "name");
      write_json_string(out, at->second.first);
      write_json_name(out, "description");
      write_json_string(out, at->second.second);
      out += '}';
    }
    out += ']';
  });
  return out + "}";
}

bool is_public(const image_record& image) {
  return image.read([](schema::ImageSpec::Reader i) { return i.getPublic(); });
}

// Strangers see public images; the others are not there for them.
bool may_see(const rest_request& from, const std::string& project, const image_record& image) {
  auto fingerprint = image.read([](auto i) { return text(i.getFingerprint()); });
  return is_public(image) || from.head->who.may("can_view", {"image", project, fingerprint});
}

bool may_see(const rest_request& from, const image_record& image) { return may_see(from, from.project, image); }

bool may_see(const rest_request& from, const snapshot& records, const alias_record& alias) {
  if (from.sees("image_alias", alias.read([](auto a) { return text(a.getName()); }))) return true;
  auto target = alias.read([](auto a) { return text(a.getTarget()); });
  auto image = load<schema::ImageSpec>(records, table::images, in_project(from.head->project, target));
  return image && is_public(*image);
}

outcome<std::string> list_images(const rest_request& from) {
  auto filter = list_filter::parse(from.http->parameter("filter"));
  if (!filter) return tl::unexpected{filter.error()};
  auto records = from.with().db.read();
  bool all = is_true(from.http->parameter("all-projects"));
  std::map<std::string, alias_index> aliases; // by project
  json_list list;
  records.scan(table::images, all ? "" : from.head->project + "/", [&](std::string_view key, std::string_view bytes) {
    auto image = image_record::from_bytes(bytes);
    auto [project, fingerprint] = split_key(key);
    if (!may_see(from, all ? project : from.project, image)) return true;
    auto known = aliases.find(project);
    if (known == aliases.end()) known = aliases.emplace(project, all_aliases(records, project)).first;
    auto shown = image_json(image, project, known->second);
    if (!filter->matches(shown)) return true;
    if (from.recursion() == 0)
      list.url("/1.0/images/", all ? with_project({project, fingerprint}) : fingerprint);
    else
      list.next() += shown;
    return true;
  });
  return std::move(list).take();
}

std::optional<image_record> find_image(const rest_request& from, const snapshot& records) {
  auto& project = from.head->project;
  auto fingerprint = full_fingerprint(records, project, from.parameter(0));
  auto image =
      fingerprint ? load<schema::ImageSpec>(records, table::images, in_project(project, *fingerprint)) : std::nullopt;
  if (!from.head->who.may_see(from.project) && (!image || !may_see(from, *image))) {
    reply_error(from, {fault::not_found, "Image not found"}); // also for an ambiguous prefix of what is not public
    return std::nullopt;
  }
  if (!fingerprint) {
    reply_error(from, fingerprint.error());
    return std::nullopt;
  }
  return image;
}

outcome<import_image> upload_of(const rest_request& from, image_upload files) {
  auto properties = parse_query(from.http->header("X-LXD-properties"));
  if (!properties) return tl::unexpected{properties.error()};
  import_image out;
  out.head = from.head;
  if (auto name = from.http->header("X-LXD-filename"); !name.empty()) files.filename = name;
  out.upload = std::make_shared<image_upload>(std::move(files));
  out.is_public = is_true(from.http->header("X-LXD-public"));
  out.properties = std::move(*properties);
  out.expected_fingerprint = from.http->header("X-LXD-fingerprint");
  return out;
}

void post_json(const rest_request& from, const std::string& body) {
  auto json = parse_json_text(body);
  if (!json) return reply_error(from, json.error());
  auto post = message_from<schema::ImagesPost>(*json);
  if (!post) return reply_error(from, post.error());
  auto wanted = post->read([&](auto p) { return publication_of(p, from.head, from.project); });
  if (!wanted) return reply_error(from, wanted.error());
  ask_async(from, role::images, std::move(*wanted));
}

std::string read_start(const rest_request& from, size_t most) {
  std::string out(std::min<uint64_t>(from.http->spool_size, most), '\0');
  auto got = pread(from.http->spool.get(), out.data(), out.size(), 0);
  out.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return out;
}

void put_image_with(const rest_request& from, bool patch) {
  auto body = body_of<schema::ImagePut>(from);
  if (!body) return reply_error(from, body.error());
  auto given = given_fields(from);
  ask_sync(from, role::images, "",
           update_image{
               from.parameter(0), {*body, from.head}, from.etag(), patch, given.value_or(std::vector<std::string>{})});
}

} // namespace

void get_images(const rest_request& from) {
  reply_from_blocking_thread(from, [from] { return list_images(from); });
}

void post_images(const rest_request& from) {
  bool taken = from.with().blocking.submit([from] {
    auto type = from.http->header("Content-Type");
    auto start = read_start(from, 1 << 20);
    if (!type.starts_with("multipart/form-data") && !start.empty() && start.front() == '{')
      return post_json(from, start);
    if (start.empty()) return reply_error(from, {fault::invalid, "The image is missing"});
    image_upload files;
    if (type.starts_with("multipart/form-data")) {
      auto parts = split_multipart(from.http->spool, type, from.with().dir.spool);
      if (!parts) return reply_error(from, parts.error());
      files = std::move(*parts);
    } else {
      files.metadata = std::move(from.http->spool);
    }
    auto upload = upload_of(from, std::move(files));
    if (!upload) return reply_error(from, upload.error());
    ask_async(from, role::images, std::move(*upload));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

void get_image(const rest_request& from) {
  auto records = from.with().db.read();
  if (auto image = find_image(from, records))
    reply_sync(from, image_json(*image, from.head->project, all_aliases(records, from.head->project)),
               etag_of(image->bytes()));
}

void put_image(const rest_request& from) { put_image_with(from, false); }
void patch_image(const rest_request& from) { put_image_with(from, true); }
void delete_image_(const rest_request& from) {
  ask_async(from, role::images, delete_image{from.head, from.parameter(0)});
}

void export_image(const rest_request& from) {
  auto records = from.with().db.read();
  auto image = find_image(from, records);
  if (!image) return;
  auto [fingerprint, split] = image->read([](schema::ImageSpec::Reader i) {
    return std::pair{text(i.getFingerprint()), i.getSplit()};
  });
  bool taken = from.with().blocking.submit([from, fingerprint = fingerprint, split = split] {
    auto files = image_export(from.with(), fingerprint, split);
    if (files)
      from.answer.send(std::move(*files));
    else
      reply_error(from, files.error());
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

void get_aliases(const rest_request& from) {
  auto records = from.with().db.read();
  json_list list;
  auto& project = from.head->project;
  records.scan(table::aliases, project + "/", [&](std::string_view key, std::string_view bytes) {
    if (!may_see(from, records, alias_record::from_bytes(bytes))) return true;
    if (from.recursion() == 0)
      list.url("/1.0/images/aliases/", key.substr(project.size() + 1));
    else
      list.next() += alias_json(alias_record::from_bytes(bytes));
    return true;
  });
  reply_sync(from, std::move(list).take());
}

void get_alias(const rest_request& from) {
  auto records = from.with().db.read();
  auto alias =
      load<schema::ImageAliasEntry>(records, table::aliases, in_project(from.head->project, from.parameter(0)));
  if (!alias || !may_see(from, records, *alias)) return reply_error(from, {fault::not_found, "Alias not found"});
  reply_sync(from, alias_json(*alias), etag_of(alias->bytes()));
}

void post_aliases(const rest_request& from) {
  auto body = body_of<schema::ImageAliasesPost>(from);
  if (!body) return reply_error(from, body.error());
  body->read([&](schema::ImageAliasesPost::Reader post) {
    change_alias request{change_alias::verb::create,  from.head, text(post.getName()), text(post.getTarget()),
                         text(post.getDescription()), {}};
    ask_sync(from, role::images, "/1.0/images/aliases/" + request.name, request);
  });
}

namespace {

void change_alias_with(const rest_request& from, bool patch) {
  auto body = body_of<schema::ImageAliasPut>(from);
  auto given = given_fields(from);
  if (!body || !given) return reply_error(from, body ? given.error() : body.error());
  auto lacks = [&](std::string_view field) {
    return patch && std::find(given->begin(), given->end(), field) == given->end();
  };
  body->read([&](schema::ImageAliasPut::Reader put) {
    ask_sync(from, role::images, "",
             change_alias{change_alias::verb::update,
                          from.head,
                          from.parameter(0),
                          text(put.getTarget()),
                          text(put.getDescription()),
                          {},
                          lacks("target"),
                          lacks("description"),
                          from.etag()});
  });
}

} // namespace

void put_alias(const rest_request& from) { change_alias_with(from, false); }
void patch_alias(const rest_request& from) { change_alias_with(from, true); }

void post_alias(const rest_request& from) {
  auto body = body_of<schema::ImageAliasRename>(from);
  if (!body) return reply_error(from, body.error());
  auto to = body->read([](auto post) { return text(post.getName()); });
  ask_sync(from, role::images, "/1.0/images/aliases/" + to,
           change_alias{change_alias::verb::rename, from.head, from.parameter(0), {}, {}, to});
}

void delete_alias(const rest_request& from) {
  ask_sync(from, role::images, "", change_alias{change_alias::verb::remove, from.head, from.parameter(0)});
}

} // namespace troupe
