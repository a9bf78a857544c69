#include "actors/instance.hpp"
#include "actors/instance_admission.hpp"
#include "actors/instance_image.hpp"
#include "runtime/uuid.hpp"

namespace troupe {
namespace {

// What the old image said of itself goes with it.
config_map rebuilt_config(config_map config, const chosen_image& image) {
  std::erase_if(config, [](auto& entry) { return entry.first.starts_with("image."); });
  for (auto& [key, value] : image.properties) config.insert_or_assign(key, value);
  config.erase("volatile.base_image");
  config.erase("volatile.apply_template");
  if (image.fingerprint.empty()) return config;
  config["volatile.base_image"] = image.fingerprint;
  config["volatile.apply_template"] = "create";
  return config;
}

} // namespace

outcome<std::shared_ptr<saga>> plan_rebuild(const instance_data& me, const envelope<schema::RebuildInstance>& request) {
  auto records = me.with.db.read();
  auto spec = me.spec();
  if (!spec) return fail(fault::not_found, "Instance not found");
  if (!is_down(me)) return fail(fault::wrong_state, "A running instance cannot be rebuilt; stop it first");
  return request.body.read([&](schema::RebuildInstance::Reader post) -> outcome<std::shared_ptr<saga>> {
    auto type = view(post.getSource().getType());
    if (type != "image" && type != "none")
      return fail(fault::invalid, "An instance is rebuilt from a source of type \"image\" or \"none\"");
    outcome<chosen_image> image = chosen_image{};
    if (type == "image") image = choose_image(records, me.project, post.getSource(), me.type);
    if (!image) return tl::unexpected{image.error()};
    return spec->read([&](schema::InstanceSpec::Reader is) -> outcome<std::shared_ptr<saga>> {
      auto config = rebuilt_config(to_map(is.getConfig()), *image);
      instance_draft draft{me.project, is.getType(), to_vector(is.getProfiles()), config, to_map(is.getDevices())};
      if (auto use = judge_draft(records, draft); !use) return tl::unexpected{use.error()};
      auto effective = expand(records, is);
      auto pool = text(is.getPool()), size = std::string{get(*root_disk(effective.devices), "size")};
      auto plan = instance_saga(me, request.head, "instance.rebuild", "Rebuilding instance");
      auto fresh = me.volume() + "." + make_uuid_v4();
      plan->before.push_back(make_volume_step(me.type, pool, fresh, image->fingerprint, size));
      plan->may_cancel = !image->fingerprint.empty();
      plan->commit.conditions.push_back(unchanged(records, table::instances, me.id()));
      plan->commit.writes.push_back(put_record(me, changed(*spec, [&](schema::InstanceSpec::Builder b) {
                                                 fill(b.initConfig(static_cast<unsigned>(config.size())), config);
                                               })));
      plan->commit.events.push_back(lifecycle_event(*request.head, "instance", me.name, "instance-rebuilt", me.url()));
      plan->after.push_back({"volume.replace", {{"pool", pool}, {"volume", me.volume()}, {"by", fresh}}});
      return plan;
    });
  });
}

} // namespace troupe
