#include "actors/image_publish.hpp"

#include "actors/instance_backup.hpp"
#include "actors/instance_lifecycle.hpp"
#include "actors/instance_snapshot.hpp"
#include "actors/names.hpp"
#include "actors/pools.hpp"
#include "actors/project_keys.hpp"
#include "backends/image/archives.hpp"
#include "backends/image/bounded_yaml.hpp"
#include "backends/image/image_files.hpp"
#include "backends/image/volume_metadata.hpp"
#include "messages/rights.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

constexpr int64_t second_ns = 1'000'000'000;

// What is copied: the instance's own volume or a snapshot's.
struct origin {
  std::string pool, volume, architecture;
};

outcome<origin> origin_of(const snapshot& records, const publish_image& request) {
  auto key = in_project(request.project, request.instance);
  auto spec = load<schema::InstanceSpec>(records, table::instances, key);
  entity thing{"instance", request.project, request.instance};
  if (!spec || !request.head->who.may("can_view", thing)) return fail(fault::not_found, "Instance not found");
  if (!request.head->who.may("can_manage_backups", thing)) return fail(fault::forbidden, "not authorized");
  if (spec->read([](auto s) { return s.getType(); }) != schema::InstanceType::CONTAINER)
    return fail(fault::unsupported, "Virtual machines cannot be published yet");
  auto [pool, architecture] = spec->read([](auto s) {
    return std::pair{text(s.getPool()), text(s.getArchitecture())};
  });
  if (!request.snapshot.empty()) {
    auto taken = load<schema::SnapshotSpec>(records, table::snapshots, in_project(key, request.snapshot));
    if (!taken) return fail(fault::not_found, "Snapshot not found");
    return origin{taken->read([](auto s) { return text(s.getPool()); }), volume_of(*taken), architecture};
  }
  auto status = load<schema::InstanceStatus>(records, table::statuses, key).value_or(status_record{});
  auto now = status.read([](auto s) { return s.getState(); });
  if (now != instance_state::STOPPED && now != instance_state::ERROR)
    return fail(fault::wrong_state, "The instance must be stopped to be published");
  return origin{pool, instance_key(request.project, request.instance), architecture};
}

outcome<void> check_request(const snapshot& records, const publish_image& request) {
  if (request.properties)
    for (auto& [key, value] : *request.properties)
      if (auto good = check_text("properties." + key, value); !good) return good;
  if (auto good = check_text("filename", request.filename); !good) return good;
  auto home = home_of(records, request.head->project, feature::profiles);
  for (auto& profile : request.profiles)
    if (!records.get(table::profiles, in_project(home, profile)))
      return fail(fault::invalid, "Profile \"" + profile + "\" does not exist");
  return check_distinct("Profile", request.profiles);
}

nlohmann::json templates_of(schema::ImageMetadata::Reader from) {
  auto out = nlohmann::json::object();
  for (auto entry : from.getTemplates()) {
    auto row = entry.getTemplate();
    nlohmann::json one{{"when", to_vector(row.getWhen())},
                       {"create_only", row.getCreateOnly()},
                       {"template", text(row.getTemplate())},
                       {"properties", to_map(row.getProperties())}};
    out[text(entry.getPath())] = std::move(one);
  }
  return out;
}

// That of the volume, with what the request says instead; an empty instance has none of its own.
outcome<std::string> metadata_of(const root_mount& volume, const publish_image& request,
                                 const std::string& architecture) {
  auto opened = volume_metadata::open(volume);
  if (!opened) return tl::unexpected{opened.error()};
  auto before = opened->read();
  if (!before && before.error().code != fault::not_found) return tl::unexpected{before.error()};
  nlohmann::json out{{"architecture", architecture}, {"creation_date", now_ns() / second_ns}};
  if (before)
    before->read([&](schema::ImageMetadata::Reader from) {
      out["properties"] = to_map(from.getProperties());
      out["templates"] = templates_of(from);
    });
  if (request.properties) out["properties"] = *request.properties;
  if (request.expires_at > 0) out["expiry_date"] = request.expires_at / second_ns;
  return yaml_of_json(out);
}

outcome<image_facts> pack_image(services& with, const publish_image& request, const origin& from,
                                const std::string& compressed, image_upload& into, const progress_sink& progress,
                                const cancel_token* stop) {
  auto found = load<schema::PoolSpec>(with.db.read(), table::pools, from.pool);
  if (!found) return fail(fault::not_found, "Storage pool not found");
  auto driver = found->read([&](schema::PoolSpec::Reader p) {
    return make_driver(with, text(p.getName()), text(p.getDriver()), to_map(p.getConfig()));
  });
  auto root = driver->root({"snapshots", from.volume.substr(from.volume.find('/') + 1)});
  if (!root) return tl::unexpected{root.error()};
  auto yaml = metadata_of(*root, request, from.architecture);
  if (!yaml) return tl::unexpected{yaml.error()};
  auto metadata = parse_metadata(*yaml);
  if (!metadata) return tl::unexpected{metadata.error()};
  auto how = parse_compression(compressed);
  auto file = unnamed_file(with.dir.spool);
  if (!how) return tl::unexpected{how.error()};
  if (!file) return tl::unexpected{file.error()};
  std::vector<archive_part> parts(2);
  parts[0].name = "metadata.yaml";
  parts[0].content = std::move(*yaml);
  parts[1].volume = std::move(*root);
  auto packed = pack_archive(std::move(parts), *how, *file, progress, stop);
  if (!packed) return tl::unexpected{packed.error()};
  into.metadata = std::move(*file);
  return image_facts{packed->sha256, packed->size, false, false, std::move(*metadata)};
}

} // namespace

outcome<publish_image> publication_of(schema::ImagesPost::Reader post, std::shared_ptr<const header> head,
                                      std::string project) {
  static constexpr std::string_view instances[] = {"instance", "container", "snapshot"};
  auto type = view(post.getSource().getType());
  if (std::find(std::begin(instances), std::end(instances), type) == std::end(instances))
    return fail(fault::unsupported,
                "Images from source type \"" + std::string{type} + "\" are not supported yet: import a file");
  if (post.getAutoUpdate()) return fail(fault::unsupported, "Images are not updated by themselves yet");
  auto source = text(post.getSource().getName());
  auto slash = source.find('/');
  publish_image out{std::move(head), std::move(project), source.substr(0, slash)};
  if (slash != source.npos) out.snapshot = source.substr(slash + 1);
  if (out.instance.empty()) return fail(fault::invalid, "The instance to publish must be named");
  if ((type == "snapshot") != !out.snapshot.empty())
    return fail(fault::invalid, type == "snapshot" ? "The source is no snapshot" : "The source is a snapshot");
  if (post.hasProperties()) out.properties = to_map(post.getProperties());
  out.is_public = post.getPublic();
  out.expires_at = post.getExpiresAt();
  out.filename = text(post.getFilename());
  out.compression = text(post.getCompressionAlgorithm());
  out.profiles = to_vector(post.getProfiles());
  for (auto alias : post.getAliases()) out.aliases.push_back({text(alias.getName()), text(alias.getDescription())});
  return out;
}

outcome<std::shared_ptr<saga>> plan_publish(services& with, const publish_image& request, const std::string& upload,
                                            import_image& into) {
  auto records = with.db.read();
  if (auto good = check_request(records, request); !good) return tl::unexpected{good.error()};
  auto from = origin_of(records, request);
  if (!from) return tl::unexpected{from.error()};
  auto chosen = chosen_compression(records, request.project, "images.compression_algorithm", request.compression);
  if (!chosen) return tl::unexpected{chosen.error()};
  auto copy = "snapshots/" + make_uuid_v4();
  auto plan = std::make_shared<saga>();
  plan->kind = "image.publish";
  plan->description = "Publishing instance";
  plan->head = request.head;
  plan->entity = "instance/" + in_project(request.project, request.instance);
  plan->resources = {{"instances", {url_of_in("instances", request.project, request.instance)}}};
  plan->may_cancel = true;
  plan->before = {{"volume.copy", {{"pool", from->pool}, {"from", from->volume}, {"volume", copy}}},
                  {"image.store", {{"upload", upload}}}};
  plan->after = {{"volume.destroy", {{"pool", from->pool}, {"volume", copy}}}};

  into.head = request.head;
  into.upload = std::make_shared<image_upload>();
  into.upload->filename = request.filename;
  into.is_public = request.is_public;
  into.profiles = request.profiles;
  into.aliases = request.aliases;
  from->volume = copy;
  into.make = [&with, request, from = *from, chosen = *chosen, files = into.upload](const progress_sink& progress,
                                                                                    const cancel_token* stop) {
    return pack_image(with, request, from, chosen, *files, progress, stop);
  };
  return plan;
}

} // namespace troupe
