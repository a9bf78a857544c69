#include "actors/instance.hpp"
#include "actors/instance_devices.hpp"
#include "actors/project_keys.hpp"
#include "backends/image/image_store.hpp"
#include "backends/image/template_engine.hpp"
#include "backends/image/volume_metadata.hpp"

#include <sys/stat.h>

namespace troupe {
namespace {

bool applies_at(schema::ImageMetadata::Template::Reader row, std::string_view trigger) {
  for (auto when : row.getWhen())
    if (view(when) == trigger) return true;
  return false;
}

template_context context_of(schema::InstanceSpec::Reader spec, const expansion& effective, std::string_view trigger) {
  template_context context;
  context.trigger = trigger;
  context.instance = {{"name", text(spec.getName())},
                      {"type", std::string{word_of(spec.getType())}},
                      {"architecture", text(spec.getArchitecture())},
                      {"privileged", is_true(get(effective.config, "security.privileged")) ? "true" : "false"},
                      {"ephemeral", spec.getEphemeral() ? "true" : "false"}};
  context.config = effective.config;
  context.devices = effective.devices;
  return context;
}

// `trigger` create or copy or rename is pending from the change that asked for it; start always applies.
outcome<std::vector<boot_file>> render_templates(schema::InstanceSpec::Reader spec, const expansion& effective,
                                                 const root_mount& root) {
  std::vector<boot_file> files;
  auto volume = volume_metadata::open(root);
  if (!volume) return tl::unexpected{volume.error()};
  auto metadata = volume->read();
  if (!metadata) {
    if (metadata.error().code == fault::not_found) return files; // an empty instance has none
    return tl::unexpected{metadata.error()};
  }
  auto pending = std::string{get(effective.config, "volatile.apply_template")};
  return metadata->read([&](schema::ImageMetadata::Reader image) -> outcome<std::vector<boot_file>> {
    for (auto entry : image.getTemplates()) {
      auto row = entry.getTemplate();
      auto trigger = !pending.empty() && applies_at(row, pending) ? pending : std::string{"start"};
      if (!applies_at(row, trigger)) continue;
      auto source = volume->read_template(text(row.getTemplate()));
      if (!source) return tl::unexpected{source.error()};
      auto context = context_of(spec, effective, trigger);
      context.path = text(entry.getPath());
      context.properties = to_map(row.getProperties());
      auto content = render_template(*source, context);
      if (!content)
        return fail(content.error().code, "Template " + text(row.getTemplate()) + ": " + content.error().message);
      files.push_back({text(entry.getPath()), std::move(*content), row.getCreateOnly()});
    }
    return files;
  });
}

} // namespace

namespace {

std::string_view either(const config_map& config, std::string_view key, std::string_view older) {
  auto value = get(config, key);
  return value.empty() ? get(config, older) : value;
}

// What cloud-init reads from the config drive of a virtual machine (its data source NoCloud).
std::map<std::string, std::string> seed_of(schema::InstanceSpec::Reader spec, const config_map& config) {
  std::map<std::string, std::string> files;
  files["meta-data"] = "instance-id: " + std::string{get(config, "volatile.cloud-init.instance-id")} +
                       "\nlocal-hostname: " + text(spec.getName()) + "\n" + std::string{get(config, "user.meta-data")};
  auto user = either(config, "cloud-init.user-data", "user.user-data");
  auto vendor = either(config, "cloud-init.vendor-data", "user.vendor-data");
  auto network = either(config, "cloud-init.network-config", "user.network-config");
  files["user-data"] = user.empty() ? "#cloud-config\n{}\n" : user;
  files["vendor-data"] = vendor.empty() ? "#cloud-config\n{}\n" : vendor;
  if (!network.empty()) files["network-config"] = network;
  return files;
}

void add_machine(boot_plan& plan, schema::InstanceSpec::Reader spec, const expansion& effective,
                 const disk_places& places) {
  plan.uuid = get(effective.config, "volatile.uuid");
  plan.drives = drives_of(effective, places, plan.root.path);
  plan.seed = seed_of(spec, effective.config);
  plan.ids = {};
}

} // namespace

outcome<planned_boot> make_boot_plan(services& with, const spec_record& spec, root_mount root) {
  auto records = with.db.read();
  return spec.read([&](schema::InstanceSpec::Reader s) -> outcome<planned_boot> {
    auto effective = expand(records, s);
    auto files = render_templates(s, effective, root);
    if (!files) return tl::unexpected{files.error()};
    auto nodes = nodes_of(effective);
    if (!nodes) return tl::unexpected{nodes.error()};
    boot_plan plan;
    auto places = disk_places_of(with, records, view(s.getProject()));
    bool machine = s.getType() == schema::InstanceType::VIRTUAL_MACHINE;
    if (!machine) plan.mounts = mounts_of(effective, places);
    plan.nodes = std::move(*nodes);
    if (!machine) plan.disk_limits = disk_limits_of(effective, root.lower.empty() ? root.path : root.upper, places);
    plan.key = instance_key(view(s.getProject()), view(s.getName()));
    plan.name = text(s.getName());
    plan.architecture = text(s.getArchitecture());
    plan.root = std::move(root);
    if (!is_true(get(effective.config, "security.privileged"))) plan.ids = {s.getIdmapBase(), s.getIdmapSize()};
    plan.config = effective.config;
    plan.files = std::move(*files);
    plan.log_dir = with.dir.logs + "/" + plan.key;
    if (mkdir(plan.log_dir.c_str(), 0700) != 0 && errno != EEXIST)
      return fail_errno(errno, "Cannot make the log directory");
    if (machine) add_machine(plan, s, effective, places);
    for (auto& nic : nics_of(effective)) plan.nics.push_back(plan_of(nic));
    return planned_boot{std::move(plan), std::move(effective)};
  });
}

} // namespace troupe
