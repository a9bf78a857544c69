#include "actors/instance_image.hpp"

#include "actors/config_keys.hpp"
#include "actors/images.hpp"
#include "actors/instance_kinds.hpp"
#include "actors/project_keys.hpp"

#include <sys/utsname.h>

namespace troupe {
namespace {

outcome<std::string> resolve(const snapshot& records, const std::string& home, schema::InstanceSource::Reader source) {
  if (source.getServer().size() || (source.getProtocol().size() && view(source.getProtocol()) != "lxd"))
    return fail(fault::unsupported, "Images of remote servers are not supported yet: import the image first");
  if (source.getAlias().size()) {
    auto key = in_project(home, view(source.getAlias()));
    if (auto alias = load<schema::ImageAliasEntry>(records, table::aliases, key))
      return alias->read([](auto a) { return text(a.getTarget()); });
  }
  auto wanted = view(source.getFingerprint().size() ? source.getFingerprint() : source.getAlias());
  if (wanted.empty()) return fail(fault::invalid, "The image must be given by alias or fingerprint");
  return full_fingerprint(records, home, wanted);
}

} // namespace

std::string host_architecture() {
  utsname host{};
  uname(&host);
  return host.machine;
}

saga_step make_volume_step(schema::InstanceType type, const std::string& pool, const std::string& volume,
                           const std::string& fingerprint, const std::string& size) {
  config_map args{{"pool", pool}, {"volume", volume}, {"size", size}};
  if (size.empty() && type == schema::InstanceType::VIRTUAL_MACHINE) {
    args["size"] = machine_disk;
    args["at_least"] = "true";
  }
  if (fingerprint.empty()) return {"volume.create", std::move(args)};
  args.emplace("image", fingerprint);
  return {"volume.clone", std::move(args)};
}

outcome<chosen_image> choose_image(const snapshot& records, const std::string& project,
                                   schema::InstanceSource::Reader source, schema::InstanceType type) {
  auto home = home_of(records, project, feature::images);
  auto fingerprint = resolve(records, home, source);
  if (!fingerprint) return tl::unexpected{fingerprint.error()};
  auto image = load<schema::ImageSpec>(records, table::images, in_project(home, *fingerprint));
  if (!image) return fail(fault::not_found, "Image not found");
  return image->read([&](schema::ImageSpec::Reader i) -> outcome<chosen_image> {
    if (i.getType() != type)
      return fail(fault::invalid, "The image is for a " + std::string{word_of(i.getType())} + ", not for a " +
                                      std::string{word_of(type)});
    if (view(i.getArchitecture()) != host_architecture())
      return fail(fault::invalid, "The image is for another architecture (" + text(i.getArchitecture()) + ")");
    chosen_image chosen{*fingerprint, {}, {"default"}};
    if (i.hasProfiles()) chosen.profiles = to_vector(i.getProfiles());
    for (auto& [key, value] : to_map(i.getProperties()))
      if (auto name = "image." + key; find_instance_key(name)) chosen.properties.emplace(name, value);
    return chosen;
  });
}

} // namespace troupe
