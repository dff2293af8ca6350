@description('Storage of the Functions host, of packages and of the blobs that are scored.')
param name string
param location string
param tags object

@description('False: only private endpoints reach the account, and trusted services of Azure if it takes events.')
param public bool

@description('Whether Event Grid sends to a queue of the account: it has no private endpoint, and comes as a trusted service.')
param takesEvents bool

var containers = ['packages', 'incoming', 'scored', 'rejected']

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: public || takesEvents ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: public ? 'Allow' : 'Deny'
    }
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource blobContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for container in containers: {
    parent: blobs
    name: container
    properties: {
      publicAccess: 'None'
    }
  }
]

// Only the topic: a subscription's address contains a key of the app, which does not exist before the app is deployed.
// infra/blob-events.sh subscribes.
resource blobEvents 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: 'evgt-${name}'
  location: location
  tags: tags
  // Sends to the queue of large blobs, where there is one (large-blobs.bicep).
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: account.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

output id string = account.id
output name string = account.name

@description('The addresses of its services, whose ends differ between clouds.')
output endpoints object = {
  blob: account.properties.primaryEndpoints.blob
  queue: account.properties.primaryEndpoints.queue
  table: account.properties.primaryEndpoints.table
}
output packages string = '${account.properties.primaryEndpoints.blob}packages'
output systemTopicName string = blobEvents.name
