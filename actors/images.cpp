#include "actors/images.hpp"
#include "actors/image_publish.hpp"

#include "actors/names.hpp"
#include "actors/project_keys.hpp"
#include "actors/project_use.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>
#include <set>

namespace troupe {
namespace {

struct images_data {
  services& with;
  caf::event_based_actor* self;
  std::map<std::string, import_image> uploads;                  // upload number -> what came in
  std::map<std::string, std::shared_ptr<cancel_token>> reading; // operation -> ends the reading of its upload
  std::set<std::string> storing;                                // fingerprints on their way to the record
  uint64_t next_upload = 1;
};
using data_ptr = std::shared_ptr<images_data>;

std::string url_of(const std::string& fingerprint) { return "/1.0/images/" + fingerprint; }
std::string alias_url(const std::string& name) { return "/1.0/images/aliases/" + name; }

std::shared_ptr<saga> new_saga(std::shared_ptr<const header> head, std::string kind, std::string description,
                               const std::string& entity) {
  auto plan = std::make_shared<saga>();
  plan->kind = std::move(kind);
  plan->description = std::move(description);
  plan->head = std::move(head);
  plan->entity = "image/" + entity;
  return plan;
}

caf::result<operation_record> begin(const data_ptr& me, outcome<std::shared_ptr<saga>> plan) {
  if (!plan) return to_caf(plan.error());
  return hand_over<operation_record>(me->self, me->with.find(role::operations), begin_saga{*plan});
}

// ---- import

outcome<void> check_aliases(const data_ptr& me, const import_image& request) {
  auto records = me->with.db.read();
  for (auto& [alias, description] : request.aliases) {
    if (auto good = check_alias_name(alias); !good) return good;
    if (auto good = check_text("description", description); !good) return good;
    if (records.get(table::aliases, in_project(request.head->project, alias)))
      return fail(fault::already_exists, "Alias \"" + alias + "\" already exists");
  }
  return {};
}

outcome<std::shared_ptr<saga>> plan_import(const data_ptr& me, const import_image& request) {
  if (auto good = check_aliases(me, request); !good) return tl::unexpected{good.error()};
  for (auto& [key, value] : request.properties)
    if (auto good = check_text("properties." + key, value); !good) return tl::unexpected{good.error()};
  auto number = std::to_string(me->next_upload++);
  auto plan = new_saga(request.head, "image.import", "Downloading image", "upload");
  plan->may_cancel = true;
  plan->before.push_back({"image.store", {{"upload", number}}});
  if (!request.head->plan) me->uploads.emplace(number, request);
  return plan;
}

outcome<std::shared_ptr<saga>> plan_publishing(const data_ptr& me, const publish_image& request) {
  auto number = std::to_string(me->next_upload++);
  import_image upload;
  auto plan = plan_publish(me->with, request, number, upload);
  if (!plan) return plan;
  if (auto good = check_aliases(me, upload); !good) return tl::unexpected{good.error()};
  if (!request.head->plan) me->uploads.emplace(number, std::move(upload));
  return plan;
}

message<schema::ImageSpec> make_spec(const import_image& request, const image_facts& facts) {
  return message<schema::ImageSpec>::make([&](schema::ImageSpec::Builder image) {
    facts.metadata.read([&](schema::ImageMetadata::Reader meta) {
      auto properties = to_map(meta.getProperties());
      for (auto& [key, value] : request.properties) properties.insert_or_assign(key, value);
      fill(image.initProperties(static_cast<unsigned>(properties.size())), properties);
      image.setArchitecture(meta.getArchitecture());
      image.setCreatedAt(meta.getCreationDate() * 1'000'000'000);
      image.setExpiresAt(meta.getExpiryDate() * 1'000'000'000);
    });
    image.setFingerprint(facts.fingerprint);
    image.setFilename(request.upload->filename);
    image.setSize(static_cast<int64_t>(facts.size));
    image.setType(facts.virtual_machine ? schema::InstanceType::VIRTUAL_MACHINE : schema::InstanceType::CONTAINER);
    image.setPublic(request.is_public);
    image.setUploadedAt(now_ns());
    image.setSplit(facts.split);
    auto profiles = request.profiles.empty() ? std::vector<std::string>{"default"} : request.profiles;
    fill(image.initProfiles(static_cast<unsigned>(profiles.size())), profiles);
  });
}

message<schema::ImageAliasEntry> make_alias(const std::string& name, const std::string& target,
                                            const std::string& description) {
  return message<schema::ImageAliasEntry>::make([&](schema::ImageAliasEntry::Builder alias) {
    alias.setName(name);
    alias.setTarget(target);
    alias.setDescription(description);
  });
}

step_result_ptr stored(const snapshot& records, const import_image& request, const image_facts& facts) {
  auto result = std::make_shared<step_result>();
  auto& more = result->more;
  auto& project = request.head->project;
  auto key = in_project(project, facts.fingerprint);
  more.conditions.push_back(absent(table::images, key));
  more.writes.push_back(put(table::images, key, make_spec(request, facts)));
  keep_project(more, records, project);
  more.events.push_back(lifecycle_event(*request.head, "image", facts.fingerprint, "image-created",
                                        url_of(facts.fingerprint),
                                        {{"type", facts.virtual_machine ? "virtual-machine" : "container"}}));
  for (auto& [alias, description] : request.aliases) {
    more.conditions.push_back(absent(table::aliases, in_project(project, alias)));
    more.writes.push_back(
        put(table::aliases, in_project(project, alias), make_alias(alias, facts.fingerprint, description)));
  }
  result->metadata = {{"fingerprint", '"' + facts.fingerprint + '"'}, {"size", '"' + std::to_string(facts.size) + '"'}};
  return result;
}

outcome<void> check_facts(const data_ptr& me, const import_image& request, const image_facts& facts) {
  if (!request.expected_fingerprint.empty() && request.expected_fingerprint != facts.fingerprint)
    return fail(fault::invalid, "The fingerprint is " + facts.fingerprint + ", not what the client expected");
  if (me->with.db.read().get(table::images, in_project(request.head->project, facts.fingerprint)))
    return fail(fault::already_exists, "Image with same fingerprint already exists");
  if (!me->storing.insert(facts.fingerprint).second)
    return fail(fault::already_exists, "An image with same fingerprint is being imported");
  return {};
}

// Of a file in the making, whose size nobody knows yet.
progress_sink report_making(const services& with, const std::string& operation) {
  return [operations = with.find(role::operations), operation](uint64_t done, uint64_t total) {
    auto text = "Image pack: " + std::to_string(done >> 20) + "MiB";
    caf::anon_send(operations, operation_progress{operation, "create_image_from_container_pack_progress", text, "bytes",
                                                  done, total});
  };
}

progress_sink report_to(const services& with, const std::string& operation) {
  return [operations = with.find(role::operations), operation, last = uint64_t{101}](uint64_t done,
                                                                                     uint64_t total) mutable {
    auto percent = total ? done * 100 / total : 0;
    if (percent == std::exchange(last, percent)) return;
    caf::anon_send(operations, operation_progress{operation, "", "", "bytes", done, total});
  };
}

void store_upload(const data_ptr& me, const step_act& act, sure_promise promise) {
  auto number = std::string{get(act.step.args, "upload")};
  auto at = me->uploads.find(number);
  if (at == me->uploads.end()) return promise.deliver(to_caf({fault::internal, "The upload is gone"}));
  auto request = at->second;
  auto stop = me->reading[act.operation] = std::make_shared<cancel_token>();
  on_blocking_thread(
      me->self, me->with,
      [&files = me->with.image_files, request, stop,
       sink = request.make ? report_making(me->with, act.operation) : report_to(me->with, act.operation)] {
        return request.make ? request.make(sink, stop.get()) : files.inspect(*request.upload, sink, stop.get());
      },
      [me, promise, request, number, operation = act.operation](outcome<image_facts> facts) mutable {
        me->reading.erase(operation);
        if (!facts) {
          promise.deliver(to_caf(facts.error()));
          return;
        }
        if (auto good = check_facts(me, request, *facts); !good) {
          promise.deliver(to_caf(good.error()));
          return;
        }
        auto kept = std::make_shared<image_facts>(std::move(*facts));
        on_blocking_thread(
            me->self, me->with,
            [&files = me->with.image_files, upload = request.upload, kept] { return files.keep(*upload, *kept); },
            [me, promise, request, kept, number](outcome<void> done) mutable {
              me->storing.erase(kept->fingerprint);
              me->uploads.erase(number);
              if (done)
                promise.deliver(stored(me->with.db.read(), request, *kept));
              else
                promise.deliver(to_caf(done.error()));
            });
      });
}

// Files without a record: what an interrupted import left.
void sweep_files(const data_ptr& me, std::function<void(outcome<void>)> then) {
  std::set<std::string> wanted = me->storing;
  me->with.db.read().scan(table::images, "", [&](std::string_view key, std::string_view) {
    wanted.emplace(key.substr(key.find('/') + 1));
    return true;
  });
  on_blocking_thread(
      me->self, me->with,
      [&files = me->with.image_files, wanted]() -> outcome<void> {
        auto there = files.list();
        if (!there) return tl::unexpected{there.error()};
        for (auto& fingerprint : *there)
          if (!wanted.count(fingerprint))
            if (auto done = files.forget(fingerprint); !done) return done;
        return {};
      },
      std::move(then));
}

// ---- delete, update, aliases

outcome<std::shared_ptr<saga>> plan_delete(const data_ptr& me, const delete_image& request) {
  auto records = me->with.db.read();
  auto& project = request.head->project;
  auto fingerprint = full_fingerprint(records, project, request.fingerprint);
  if (!fingerprint) return tl::unexpected{fingerprint.error()};
  auto image_key = in_project(project, *fingerprint);
  auto plan = new_saga(request.head, "image.delete", "Deleting image", *fingerprint);
  plan->resources = {{"images", {url_of_in("images", project, *fingerprint)}}};
  plan->commit.conditions.push_back(unchanged(records, table::images, image_key));
  plan->commit.writes.push_back(erase(table::images, image_key));
  plan->commit.events.push_back(
      lifecycle_event(*request.head, "image", *fingerprint, "image-deleted", url_of(*fingerprint)));
  records.scan(table::aliases, project + "/", [&](std::string_view key, std::string_view bytes) {
    auto target = message<schema::ImageAliasEntry>::from_bytes(bytes).read([](auto a) { return text(a.getTarget()); });
    if (target == *fingerprint) plan->commit.writes.push_back(erase(table::aliases, std::string{key}));
    return true;
  });
  // Who else has the image keeps files and volumes; that must not change until the commit.
  records.scan(table::projects, "", [&](std::string_view other, std::string_view) {
    if (other != project)
      plan->commit.conditions.push_back(unchanged(records, table::images, in_project(other, *fingerprint)));
    return true;
  });
  if (projects_with_image(records, *fingerprint).size() > 1) return plan;
  records.scan(table::volumes, "", [&](std::string_view key, std::string_view) {
    if (!key.ends_with("/image/" + *fingerprint)) return true;
    plan->commit.writes.push_back(erase(table::volumes, std::string{key}));
    plan->after.push_back(
        {"image.unload", {{"pool", std::string{key.substr(0, key.find('/'))}}, {"image", *fingerprint}}});
    return true;
  });
  plan->after.push_back({"image.forget", {{"image", *fingerprint}}});
  return plan;
}

outcome<std::shared_ptr<saga>> plan_update(const data_ptr& me, const update_image& request) {
  auto records = me->with.db.read();
  auto& project = request.request.head->project;
  auto fingerprint = full_fingerprint(records, project, request.fingerprint);
  if (!fingerprint) return tl::unexpected{fingerprint.error()};
  auto image_key = in_project(project, *fingerprint);
  auto record = load<schema::ImageSpec>(records, table::images, image_key);
  if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
    return fail(fault::precondition, "The image was changed in the meantime (ETag does not match)");
  return request.request.body.read([&](schema::ImagePut::Reader put_) -> outcome<std::shared_ptr<saga>> {
    auto has = [&](std::string_view field) {
      return !request.patch || std::find(request.given.begin(), request.given.end(), field) != request.given.end();
    };
    if (has("auto_update") && put_.getAutoUpdate())
      return fail(fault::unsupported, "Images are not updated by themselves yet");
    auto properties = to_map(put_.getProperties());
    for (auto& [key, value] : properties)
      if (auto good = check_text("properties." + key, value); !good) return tl::unexpected{good.error()};
    for (auto& profile : to_vector(put_.getProfiles()))
      if (!records.get(table::profiles, in_project(home_of(records, project, feature::profiles), profile)))
        return fail(fault::invalid, "Profile \"" + profile + "\" does not exist");
    if (request.patch)
      for (auto& [key, value] : record->read([](auto i) { return to_map(i.getProperties()); }))
        properties.emplace(key, value);
    auto plan = new_saga(request.request.head, "image.update", "Updating image", *fingerprint);
    plan->commit.conditions.push_back(unchanged(records, table::images, image_key));
    plan->commit.writes.push_back(put(table::images, image_key, changed(*record, [&](schema::ImageSpec::Builder image) {
                                        if (has("public")) image.setPublic(put_.getPublic());
                                        if (has("expires_at")) image.setExpiresAt(put_.getExpiresAt());
                                        if (has("properties"))
                                          fill(image.initProperties(static_cast<unsigned>(properties.size())),
                                               properties);
                                        if (has("profiles") && put_.hasProfiles())
                                          image.setProfiles(put_.getProfiles());
                                      })));
    plan->commit.events.push_back(
        lifecycle_event(*request.request.head, "image", *fingerprint, "image-updated", url_of(*fingerprint)));
    return plan;
  });
}

outcome<std::shared_ptr<saga>> plan_alias(const data_ptr& me, const change_alias& request) {
  auto records = me->with.db.read();
  auto& project = request.head->project;
  auto key = in_project(project, request.name);
  auto record = load<schema::ImageAliasEntry>(records, table::aliases, key);
  auto plan = new_saga(request.head, "image.alias", "Changing image alias", request.name);
  auto& commit = plan->commit;
  auto tell = [&](std::string_view action, const std::string& name, const config_map& context) {
    commit.events.push_back(lifecycle_event(*request.head, "image-alias", name, action, alias_url(name), context));
  };
  using verb = change_alias::verb;
  if (request.what == verb::create) {
    if (auto good = check_alias_name(request.name); !good) return tl::unexpected{good.error()};
    if (record) return fail(fault::already_exists, "Alias \"" + request.name + "\" already exists");
  } else {
    if (!record) return fail(fault::not_found, "Alias not found");
    if (!request.etag.empty() && request.etag != etag_of(record->bytes()))
      return fail(fault::precondition, "The alias was changed in the meantime (ETag does not match)");
  }
  if (auto good = check_text("description", request.description); !good) return tl::unexpected{good.error()};
  commit.conditions.push_back(unchanged(records, table::aliases, key));
  if (request.what == verb::create || request.what == verb::update) {
    auto [old_target, old_description] = record ? record->read([](auto a) {
      return std::pair{text(a.getTarget()), text(a.getDescription())};
    })
                                                : std::pair<std::string, std::string>{};
    auto target = full_fingerprint(records, project, request.keep_target ? old_target : request.target);
    if (!target) return tl::unexpected{target.error()};
    commit.writes.push_back(
        put(table::aliases, key,
            make_alias(request.name, *target, request.keep_description ? old_description : request.description)));
    tell(request.what == verb::create ? "image-alias-created" : "image-alias-updated", request.name,
         {{"target", *target}});
  } else {
    commit.writes.push_back(erase(table::aliases, key));
    if (request.what == verb::remove) {
      tell("image-alias-deleted", request.name, {});
    } else {
      if (auto good = check_alias_name(request.new_name); !good) return tl::unexpected{good.error()};
      auto to = in_project(project, request.new_name);
      if (records.get(table::aliases, to))
        return fail(fault::already_exists, "Alias \"" + request.new_name + "\" already exists");
      commit.conditions.push_back(absent(table::aliases, to));
      commit.writes.push_back(put(table::aliases, to, changed(*record, [&](auto a) { a.setName(request.new_name); })));
      tell("image-alias-renamed", request.new_name, {{"old_name", request.name}});
    }
  }
  return plan;
}

void forget_files(const data_ptr& me, const step_act& act, sure_promise promise) {
  // Completed late, it may meet the same image imported anew.
  if (!projects_with_image(me->with.db.read(), get(act.step.args, "image")).empty())
    return promise.deliver(step_result_ptr{std::make_shared<step_result>()});
  on_blocking_thread(
      me->self, me->with,
      [&files = me->with.image_files, fingerprint = std::string{get(act.step.args, "image")}] {
        return files.forget(fingerprint);
      },
      [promise](outcome<void> done) mutable {
        if (done)
          promise.deliver(step_result_ptr{std::make_shared<step_result>()});
        else
          promise.deliver(to_caf(done.error()));
      });
}

void take_back(const data_ptr& me, const step_undo& undo, sure_promise promise) {
  me->uploads.erase(std::string{get(undo.step.args, "upload")});
  sweep_files(me, [promise](const outcome<void>& done) { answer(promise, done); });
}

} // namespace

outcome<std::string> full_fingerprint(const snapshot& records, std::string_view project, std::string_view beginning) {
  std::vector<std::string> found;
  if (!beginning.empty())
    records.scan(table::images, in_project(project, beginning), [&](std::string_view key, std::string_view) {
      found.emplace_back(key.substr(project.size() + 1));
      return found.size() < 2;
    });
  if (found.empty()) return fail(fault::not_found, "Image not found");
  if (found.size() > 1) return fail(fault::invalid, "More than one image matches the fingerprint");
  return found.front();
}

caf::behavior images(caf::event_based_actor* self, services& with) {
  auto me = std::make_shared<images_data>(images_data{with, self, {}, {}, {}});
  return {
      [me](const import_image& request) { return begin(me, plan_import(me, request)); },
      [me](const publish_image& request) { return begin(me, plan_publishing(me, request)); },
      [me](const delete_image& request) { return begin(me, plan_delete(me, request)); },
      [me](const update_image& request) { return begin(me, plan_update(me, request)); },
      [me](const change_alias& request) { return begin(me, plan_alias(me, request)); },
      [me](const step_act& act) {
        return in_turn(me->self, me->with, act.operation, [me, act](sure_promise promise) {
          act.step.kind == "image.store" ? store_upload(me, act, promise) : forget_files(me, act, promise);
        });
      },
      [me](const step_undo& undo) {
        return in_turn(me->self, me->with, undo.operation,
                       [me, undo](sure_promise promise) { take_back(me, undo, promise); });
      },
      [me](const step_interrupt& stop) {
        if (auto at = me->reading.find(stop.operation); at != me->reading.end()) at->second->cancel();
      },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
