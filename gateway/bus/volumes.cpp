#include "actors/volumes.hpp"

#include "gateway/bus/check.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"

namespace troupe::on_bus {
namespace {

// A volume's names: pool, type, name.
void require_custom(const call_ptr& c) {
  if (c->at.name(1) != "custom") refuse(fault::invalid, "Only custom volumes can be made, changed and deleted");
}

place volume_in(const call_ptr& c, const std::string& pool, const std::string& name) {
  auto where = c->at;
  where.names = {pool, "custom", name};
  return where;
}

} // namespace

kj::Promise<void> create_volume_(const call_ptr& c) {
  auto params = c->params<schema::VolumesPost>();
  return begin(c, volume_in(c, c->at.name(), text(params.getName())), role::pools,
               create_volume{c->at.name(), {copy_of<schema::VolumesPost>(params), c->at.head}});
}

kj::Promise<void> update_volume_(const call_ptr& c) {
  require_custom(c);
  auto params = c->params<bus::Volume::UpdateParams>();
  auto guard = params.getGuard();
  return begin(c, std::nullopt, role::pools,
               update_volume{c->at.name(0),
                             c->at.name(2),
                             text(guard.getEtag()),
                             {copy_of<schema::VolumePut>(params.getBody()), c->at.head},
                             guard.getPatch()});
}

kj::Promise<void> move_volume_(const call_ptr& c) {
  require_custom(c);
  auto params = c->params<schema::VolumePost>();
  if (auto project = view(params.getProject()); !project.empty() && project != c->at.head->project)
    refuse(fault::invalid, "The project is the handle's own");
  auto pool = params.getPool().size() ? text(params.getPool()) : c->at.name(0);
  auto name = params.getName().size() ? text(params.getName()) : c->at.name(2);
  return begin(c, volume_in(c, pool, name), role::pools,
               move_volume{c->at.name(0), c->at.name(2), {copy_of<schema::VolumePost>(params), c->at.head}});
}

kj::Promise<void> delete_volume_(const call_ptr& c) {
  require_custom(c);
  return begin(c, std::nullopt, role::pools, delete_volume{c->at.name(0), c->at.name(2), c->at.head});
}

} // namespace troupe::on_bus
