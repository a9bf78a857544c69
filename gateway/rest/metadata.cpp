#include "backends/image/volume_metadata.hpp"
#include "gateway/file_events.hpp"
#include "gateway/rest/instance_root.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

#include <algorithm>
#include <set>

namespace troupe {
namespace {

using metadata = volume_metadata::metadata;

// What was opened is worked on in the same call: the answer's error is whatever fails first.
void with_volume(const rest_request& from, std::function<outcome<void>(volume_metadata&)> work) {
  with_root(from, [from, work = std::move(work)](const located_root& root) {
    auto done = volume_metadata::open(root.root).and_then([&](volume_metadata&& volume) { return work(volume); });
    if (!done) reply_error(from, done.error());
  });
}

void tell(const rest_request& from, std::string_view action, const std::string& below, const config_map& context = {}) {
  tell_instance_event(from.with(), *from.head, from.parameter(0), action, below, context);
}

outcome<void> check_etag(const rest_request& from, const metadata& now) {
  if (from.etag().empty() || from.etag() == etag_of(now.bytes())) return {};
  return fail(fault::precondition, "The metadata was changed in the meantime (ETag does not match)");
}

// PATCH: the fields that were given over those that are there; properties and templates by their keys.
metadata merged(const metadata& is, const metadata& wanted, const std::vector<std::string>& given) {
  auto has = [&](std::string_view field) { return std::find(given.begin(), given.end(), field) != given.end(); };
  return wanted.read([&](schema::ImageMetadata::Reader put) {
    return changed(is, [&](schema::ImageMetadata::Builder out) {
      if (has("architecture")) out.setArchitecture(put.getArchitecture());
      if (has("creation_date")) out.setCreationDate(put.getCreationDate());
      if (has("expiry_date")) out.setExpiryDate(put.getExpiryDate());
      if (has("properties")) {
        auto all = to_map(out.asReader().getProperties());
        for (auto& [key, value] : to_map(put.getProperties())) all.insert_or_assign(key, value);
        fill(out.initProperties(static_cast<unsigned>(all.size())), all);
      }
      if (!has("templates")) return;
      std::map<std::string, schema::ImageMetadata::Template::Reader> all;
      is.read([&](schema::ImageMetadata::Reader old) {
        for (auto one : old.getTemplates()) all.insert_or_assign(text(one.getPath()), one.getTemplate());
        for (auto one : put.getTemplates()) all.insert_or_assign(text(one.getPath()), one.getTemplate());
        auto list = out.initTemplates(static_cast<unsigned>(all.size()));
        unsigned at = 0;
        for (auto& [path, row] : all) {
          list[at].setPath(path);
          list[at++].setTemplate(row);
        }
      });
    });
  });
}

void change_metadata(const rest_request& from, std::optional<std::vector<std::string>> given) {
  auto wanted = body_of<schema::ImageMetadata>(from);
  if (!wanted) return reply_error(from, wanted.error());
  with_volume(from, [from, wanted = *wanted, given = std::move(given)](volume_metadata& volume) -> outcome<void> {
    auto now = volume.read();
    if (!now && (given || now.error().code != fault::not_found)) return tl::unexpected{now.error()};
    if (auto good = now ? check_etag(from, *now) : outcome<void>{}; !good) return good;
    auto to = given ? merged(*now, wanted, *given) : wanted;
    if (auto done = volume.replace(to, now ? &*now : nullptr); !done) return done;
    tell(from, "instance-metadata-updated", "/metadata");
    reply_sync(from, "{}");
    return {};
  });
}

std::string template_name(const rest_request& from) { return std::string{from.http->parameter("path")}; }

void send_template(const rest_request& from, std::string content) {
  http_response out;
  out.headers.emplace_back("Content-Type", "application/octet-stream");
  out.body.emplace_back(std::move(content));
  from.answer.send(std::move(out));
}

} // namespace

void get_metadata(const rest_request& from) {
  with_volume(from, [from](volume_metadata& volume) -> outcome<void> {
    auto now = volume.read();
    if (!now) return tl::unexpected{now.error()};
    tell(from, "instance-metadata-retrieved", "/metadata");
    reply_sync(from, to_json(*now), etag_of(now->bytes()));
    return {};
  });
}

void put_metadata(const rest_request& from) { change_metadata(from, std::nullopt); }

void patch_metadata(const rest_request& from) {
  auto given = given_fields(from);
  if (!given) return reply_error(from, given.error());
  change_metadata(from, *given);
}

void get_templates(const rest_request& from) {
  with_volume(from, [from, name = template_name(from)](volume_metadata& volume) -> outcome<void> {
    if (!name.empty()) {
      auto content = volume.read_template(name);
      if (!content) return tl::unexpected{content.error()};
      tell(from, "instance-metadata-template-retrieved", "/metadata/templates", {{"path", name}});
      return send_template(from, std::move(*content)), outcome<void>{};
    }
    auto names = volume.templates();
    if (!names) return tl::unexpected{names.error()};
    json_list list;
    for (auto& one : *names) write_json_string(list.next(), one);
    reply_sync(from, std::move(list).take());
    return {};
  });
}

void post_template(const rest_request& from) {
  with_volume(from, [from, name = template_name(from)](volume_metadata& volume) -> outcome<void> {
    if (auto done = volume.write_template(name, from.http->body); !done) return done;
    tell(from, "instance-metadata-template-created", "/metadata/templates", {{"path", name}});
    reply_sync(from, "{}");
    return {};
  });
}

void delete_template(const rest_request& from) {
  with_volume(from, [from, name = template_name(from)](volume_metadata& volume) -> outcome<void> {
    if (auto done = volume.remove_template(name); !done) return done;
    tell(from, "instance-metadata-template-deleted", "/metadata/templates", {{"path", name}});
    reply_sync(from, "{}");
    return {};
  });
}

} // namespace troupe
